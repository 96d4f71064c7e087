// GraphiQL at /graphiql: the API's own server only, with example operations as its first tabs.

import "graphiql/setup-workers/vite";
import "graphiql/style.css";
import "./page.css";

import { GraphiQL } from "graphiql";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { examples } from "./examples";
import { fetcherFor } from "./fetcher";
import { TokenField } from "./TokenField";
import { storedToken, takeTokenFromAddress } from "./token";

takeTokenFromAddress();
const fetcher = fetcherFor(new URL("graphql", document.baseURI), storedToken);

const page = document.getElementById("page");
if (page === null) throw new Error("The page has no element to draw into.");

createRoot(page).render(
  <StrictMode>
    <GraphiQL
      fetcher={fetcher}
      defaultTabs={examples}
      defaultEditorToolsVisibility="variables"
      isHeadersEditorEnabled={false}
      shouldPersistHeaders={false}
      showPersistHeadersSettings={false}
    >
      <GraphiQL.Logo>
        <TokenField />
      </GraphiQL.Logo>
    </GraphiQL>
  </StrictMode>,
);
