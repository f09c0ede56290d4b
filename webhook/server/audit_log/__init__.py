"""The audit log: which decisions are recorded, and the files and streams that records are written to."""
