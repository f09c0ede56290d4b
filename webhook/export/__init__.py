"""Compiles a policy into CEL: objects with which the API server itself enforces it, without the webhook."""
