"""Decodes and verifies tokens: no I/O, and no signature is stored or printed."""
