"""GraphQL types, one file per subject."""
