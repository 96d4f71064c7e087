"""Who may do what: people and programs, their tokens, and what is written down about them."""
