"""Texts that look like legacy tokens, made at run time; nobody has signed them, so they are worth nothing."""

from webhook.check.sample_tokens import ISSUER, base64url, jwt, legacy_token

__all__ = ["ISSUER", "base64url", "jwt", "legacy_token"]
