// Uses GraphiQL in a real browser that knows no host but ours, and prints what it saw as JSON.
//
// Usage: node browser/graphiql.mjs CHROMIUM http://127.0.0.1:PORT/graphiql#token=TOKEN

import { chromium } from "playwright-core";

const [executablePath, address] = process.argv.slice(2);
const server = new URL(address).origin;
const token = new URLSearchParams(new URL(address).hash.slice(1)).get("token");
const authorization = `Bearer ${token}`;

const browser = await chromium.launch({
  executablePath,
  chromiumSandbox: process.getuid() !== 0, // It cannot be had as root.
  args: [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  ],
});
const context = await browser.newContext({ viewport: { width: 1400, height: 900 } });
context.setDefaultTimeout(60_000);
const page = await context.newPage();

const seen = { errors: [], elsewhere: [], workers: [], status: 0, policy: "" };
context.on("request", (request) => {
  const url = request.url();
  if (!url.startsWith(`${server}/`) && !url.startsWith("data:")) seen.elsewhere.push(url);
});
page.on("console", (message) => {
  if (message.type() === "error") seen.errors.push(message.text());
});
page.on("pageerror", (error) => seen.errors.push(String(error)));
page.on("worker", (worker) => seen.workers.push(worker.url().replace(/^.*\/|-[^-]*$/g, "")));

const isAsked = (request) => request.url() === `${server}/graphql` && request.method() === "POST";
const asked = (text) =>
  page.waitForRequest((request) => isAsked(request) && (request.postData() ?? "").includes(text));
const answered = (text) =>
  page.waitForResponse(
    (response) =>
      isAsked(response.request()) && (response.request().postData() ?? "").includes(text),
  );

async function tab(name) {
  await page.getByRole("tab", { name }).click();
}

async function write(editor, text) {
  await page.locator(`${editor} .view-lines`).click();
  await page.keyboard.press("ControlOrMeta+A");
  await page.evaluate((pasted) => {
    // Pasted, since the editor closes brackets and quotes that are typed.
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", pasted);
    const options = { clipboardData, bubbles: true, cancelable: true };
    document.activeElement.dispatchEvent(new ClipboardEvent("paste", options));
  }, text);
}

const execute = () => page.getByRole("button", { name: /execute/i }).click();
const written = (editor, text) =>
  page.locator(`${editor} .view-lines`).getByText(text).first().waitFor();
const shown = (text) => written(".graphiql-response", text);

// The page, its schema, and its example operations.
const introspection = answered("__schema");
const response = await page.goto(address);
seen.status = response.status();
seen.policy = response.headers()["content-security-policy"];
seen.introspected = Object.keys((await (await introspection).json()).data);
seen.address = page.url();
seen.cookies = await context.cookies();
seen.isKept = await page.evaluate((secret) => {
  const holds = (storage) => JSON.stringify({ ...storage }).includes(secret);
  return { session: holds(sessionStorage), local: holds(localStorage) };
}, token);
await written(".graphiql-query-editor", "RunExample");
seen.tabs = await page.getByRole("tab").allInnerTexts();

// A mutation.
const started = answered("RunExample");
await execute();
const { execution } = (await (await started).json()).data.runDiagram;
seen.run = execution.id;
await shown(execution.id);

// A subscription, to its end: somebody decides meanwhile.
const socket = page.waitForEvent("websocket");
await tab("FollowRun");
await write(".graphiql-editor-tool", JSON.stringify({ id: execution.id }));
await execute();
await shown("WAITING");
const [barrier] = await ask("{ waitingBarriers { id } }", "waitingBarriers");
const told = (await socket).waitForEvent("framereceived", (frame) =>
  String(frame.payload).includes('"complete"'),
);
await ask(`mutation { approveBarrier(id: "${barrier.id}") { errors { code } } }`, "approveBarrier");
await told;
await shown("ExecutionCompleted");

// A query with a mistake in it is underlined: the language worker runs.
await page.getByRole("button", { name: /new tab/i }).click();
await write(".graphiql-query-editor", "query Mine { serverInfo { versions } }");
await page.locator(".graphiql-query-editor .squiggly-error").first().waitFor();
await write(".graphiql-query-editor", "query Mine { serverInfo { version } }");
const mended = answered("Mine");
await execute();
seen.query = (await (await mended).json()).data;
await shown("version");

// Without the token nothing is told; with the one that is typed in, everything.
seen.errorsWithToken = [...seen.errors];
await page.evaluate(() => sessionStorage.clear());
const refused = answered("__schema");
await page.goto(`${server}/graphiql`);
seen.statusWithoutToken = (await refused).status();
await page.getByLabel("Token").fill(token);
const authorized = answered("__schema");
await page.getByRole("button", { name: "Use" }).click();
seen.statusWithToken = (await authorized).status();

seen.workers = [...new Set(seen.workers)].sort();
await browser.close();
console.log(JSON.stringify(seen));

async function ask(query, field) {
  const answer = await fetch(`${server}/graphql`, {
    method: "POST",
    headers: { authorization, "content-type": "application/json" },
    body: JSON.stringify({ query }),
  });
  return (await answer.json()).data[field];
}
