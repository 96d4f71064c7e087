// Prints what the audits of `graphql-http` say about a server, one JSON object a line.
// Usage: node audits.mjs URL

import { serverAudits } from "graphql-http";

const [url] = process.argv.slice(2);
for (const audit of serverAudits({ url })) {
  const result = await audit.fn();
  const { id, name, status, reason } = { reason: null, ...result };
  console.log(JSON.stringify({ id, name, status, reason }));
}
