// Where a person gives the bearer token; the schema is asked for again with it.

import { useGraphiQLActions } from "@graphiql/react";
import { type FormEvent, useState } from "react";

import { storedToken, storeToken } from "./token";

export function TokenField() {
  const { introspect } = useGraphiQLActions();
  const [token, setToken] = useState(storedToken);

  function use(event: FormEvent) {
    event.preventDefault();
    storeToken(token.trim());
    void introspect();
  }

  return (
    <form className="token" onSubmit={use} autoComplete="off">
      <label htmlFor="token">Token</label>
      <input
        id="token"
        type="password"
        autoComplete="off"
        placeholder="none"
        title="Sent as Authorization: Bearer …; kept until this tab is closed"
        value={token}
        onChange={(event) => setToken(event.target.value)}
      />
      <button type="submit" className="graphiql-un-styled">
        Use
      </button>
    </form>
  );
}
