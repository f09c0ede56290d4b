"""Audit logs: the record of a decision, and summaries of logs. The server writes the log."""
