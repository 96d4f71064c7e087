"""Parts for tests and demonstrations, shipped because node authors need them too."""
