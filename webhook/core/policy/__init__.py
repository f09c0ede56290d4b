"""The policy: its values (`model`), reading them from a document (`loader`), and what has no effect in one (`lint`)."""
