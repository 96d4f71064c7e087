"""The execution machine: everything that changes the state of an execution."""
