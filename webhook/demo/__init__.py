"""`tokenguard demo`: a local server, four recorded reviews of pods, and the decisions about them.

The reviews are bodies that a real API server sent to a mutating webhook, byte for byte.
"""
