import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // The server may be mounted below any path.
  plugins: [react()],
  worker: { format: "es" },
  build: {
    outDir: "../dipeo_server/web",
    emptyOutDir: true,
    assetsInlineLimit: 0, // Workers and fonts are files of our own origin, as the CSP asks.
    chunkSizeWarningLimit: 8_000, // The editor is one big program, and comes from next door.
    rolldownOptions: {
      input: "graphiql.html",
      checks: { moduleLevelDirective: false }, // "use no memo" is meant for another compiler.
    },
  },
});
