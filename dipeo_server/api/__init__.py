"""The GraphQL API and its transports: translates, never decides."""
