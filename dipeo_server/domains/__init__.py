"""Pure rules: what a diagram is and how it executes; no I/O, no clock, no chance."""
