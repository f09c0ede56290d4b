"""The policy: its values (`model`), and reading them from a document (`document`)."""
