// The bearer token of this tab: in its session storage only, and gone when the tab is closed.

const KEY = "dipeo.token";

export function storedToken(): string {
  return sessionStorage.getItem(KEY) ?? "";
}

export function storeToken(token: string): void {
  if (token === "") sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token);
}
