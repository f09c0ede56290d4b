"""`tokenguard demo`: the real server, four real pods, and what happens to each.

The reviews are bodies that a real API server sent to a mutating webhook, byte for byte.
"""
