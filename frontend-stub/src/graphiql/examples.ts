// The tabs of a first visit: examples/NAME.graphql with NAME.json for its variables, by name.

const documents: Record<string, string> = import.meta.glob("./examples/*.graphql", {
  eager: true,
  import: "default",
  query: "?raw",
});
const variables: Record<string, string> = import.meta.glob("./examples/*.json", {
  eager: true,
  import: "default",
  query: "?raw",
});

export const examples = Object.entries(documents)
  .sort(([one], [other]) => (one < other ? -1 : 1))
  .map(([path, query]) => ({ query, variables: variables[path.replace(/graphql$/, "json")] ?? "" }));
