"""Decides about tokens. Pure: no I/O, no clock, no HTTP, no client of any API server."""
