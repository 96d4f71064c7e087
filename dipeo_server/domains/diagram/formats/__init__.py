"""The ways a diagram is written down: light, native and readable."""
