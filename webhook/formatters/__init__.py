"""Output of the commands, one module a format."""
