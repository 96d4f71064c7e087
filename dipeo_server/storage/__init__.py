"""The stores behind the ports: memory, SQLite and what they share."""
