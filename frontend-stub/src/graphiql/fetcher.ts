// How GraphiQL asks the server: queries and mutations by POST, subscriptions by WebSocket.

import type { GraphiQLProps } from "graphiql";
import { type DocumentNode, type ExecutionResult, getOperationAST } from "graphql";
import { type Client, createClient } from "graphql-ws";

type Fetcher = GraphiQLProps["fetcher"];
type Wish = Parameters<Fetcher>[0];

/** Both at the same address, with the bearer token of the moment, if there is one. */
export function fetcherFor(url: URL, token: () => string): Fetcher {
  const sockets = createClient({
    url: socketAddress(url),
    connectionParams: () => authorization(token()),
    retryAttempts: 0, // Tried again it would begin anew, and tell events twice.
  });
  return (wish, options) =>
    isSubscription(wish, options?.documentAST) ? stream(sockets, wish) : post(url, wish, token());
}

function socketAddress(url: URL): string {
  const address = new URL(url);
  address.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return address.href;
}

function authorization(token: string): Record<string, string> {
  return token === "" ? {} : { authorization: `Bearer ${token}` };
}

function isSubscription(wish: Wish, document: DocumentNode | undefined): boolean {
  if (document === undefined) return false;
  return getOperationAST(document, wish.operationName)?.operation === "subscription";
}

async function post(url: URL, wish: Wish, token: string): Promise<ExecutionResult> {
  const response = await fetch(url, {
    method: "POST",
    credentials: "omit",
    headers: {
      accept: "application/graphql-response+json, application/json;q=0.9",
      "content-type": "application/json",
      ...authorization(token),
    },
    body: JSON.stringify(wish),
  });
  return (await response.json()) as ExecutionResult;
}

async function* stream(sockets: Client, wish: Wish): AsyncGenerator<ExecutionResult> {
  try {
    yield* sockets.iterate({
      query: wish.query,
      variables: wish.variables as Record<string, unknown> | null | undefined,
      operationName: wish.operationName ?? undefined,
    }) as AsyncIterable<ExecutionResult>;
  } catch (problem) {
    throw problem instanceof CloseEvent ? new Error(whyClosed(problem)) : problem;
  }
}

function whyClosed(event: CloseEvent): string {
  const reason = event.reason === "" ? "no reason given" : event.reason;
  return `The server closed the socket: ${reason} (code ${event.code}).`;
}
