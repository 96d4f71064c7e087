"""What makes a diagram valid: one small function per rule, each over the same view."""
