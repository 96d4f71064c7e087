"""Persons: what they remember, what they are told, and how their answers are read."""
