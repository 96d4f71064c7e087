// The bearer token of this tab: in its session storage only, and gone when the tab is closed.

const KEY = "dipeo.token";
const IN_FRAGMENT = /^#token=([\w.-]+)$/;

export function storedToken(): string {
  return sessionStorage.getItem(KEY) ?? "";
}

export function storeToken(token: string): void {
  if (token === "") sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token);
}

/** The address may end in #token=…, which no server ever sees; nor shall the history. */
export function takeTokenFromAddress(): void {
  const token = IN_FRAGMENT.exec(location.hash)?.[1];
  if (token === undefined) return;
  storeToken(token);
  history.replaceState(null, "", location.pathname + location.search);
}
