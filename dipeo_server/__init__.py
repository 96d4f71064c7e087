"""A GraphQL execution server for diagrams; this file holds the version only."""

__version__ = "0.1.0"
