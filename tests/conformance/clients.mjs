// Does what a browser would do, with the clients `graphql-ws` and `graphql-sse`: a query, a
// mutation that runs a diagram, its events up to the second, and the rest after a reconnection.
// Usage: node clients.mjs ws|sse URL INPUT, where INPUT is the `RunDiagramInput` as JSON.
// Prints one JSON object.

import { createClient as createSse } from "graphql-sse";
import { createClient as createWs } from "graphql-ws";
import WebSocket from "ws";

const [transport, url, input] = process.argv.slice(2);
const connect = {
  ws: () =>
    createWs({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, retryAttempts: 0 }),
  sse: () => createSse({ url, retryAttempts: 0 }),
}[transport];

const VERSION = "{ serverInfo { version } }";
const RUN = `mutation ($input: RunDiagramInput!) {
  runDiagram(input: $input) { execution { id } errors { message } }
}`;
const EVENTS = `subscription ($id: ID!, $after: Sequence) {
  executionEvents(executionId: $id, after: $after) {
    __typename
    ... on ExecutionEvent { sequence }
  }
}`;

async function only(client, query, variables) {
  const results = [];
  for await (const result of client.iterate({ query, variables })) results.push(result);
  if (results.length !== 1) throw new Error(`${results.length} results of ${query}`);
  return results[0];
}

async function events(client, variables, most = Infinity) {
  const found = [];
  for await (const { data, errors } of client.iterate({ query: EVENTS, variables })) {
    if (errors) throw new Error(JSON.stringify(errors));
    found.push(data.executionEvents);
    if (found.length === most) break;
  }
  return found;
}

const first = connect();
const version = (await only(first, VERSION)).data.serverInfo.version;
const invalid = (await only(first, "{ nope }").catch((errors) => ({ errors }))).errors;
const ran = (await only(first, RUN, { input: JSON.parse(input) })).data.runDiagram;
const id = ran.execution.id;
const seen = await events(first, { id }, 2);
await first.dispose();

const second = connect();
const rest = await events(second, { id, after: seen.at(-1).sequence });
const again = await events(second, { id });
await second.dispose();

console.log(
  JSON.stringify({ version, invalid: invalid[0].extensions.code, ran, seen, rest, again }),
);
