"""Texts that look like legacy tokens, made at run time; nobody has signed them, so they are worth nothing."""

import base64
import json
import re
import secrets
from typing import Any

ISSUER = "kubernetes/serviceaccount"
_WRITTEN = re.compile(r"legacy token of ([\w-]+)/([\w-]+) in ([\w-]+)")


def base64url(data: bytes) -> str:
    """Return base64url without padding, as a JWT has it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(claims: dict[str, Any]) -> str:
    """Return a JWT with these claims, written as Kubernetes writes them: sorted, without a space."""
    payload = json.dumps(claims, sort_keys=True, separators=(",", ":")).encode()
    header = json.dumps({"alg": "RS256", "kid": base64url(secrets.token_bytes(32))}, separators=(",", ":")).encode()
    return ".".join(map(base64url, (header, payload, secrets.token_bytes(256))))


def legacy_token(namespace: str = "demo", account: str = "app", secret: str = "t", **claims: Any) -> str:  # noqa: S107 - a name
    """Return what the token controller writes into a Secret; `claims` are more of them."""
    prefix = "kubernetes.io/serviceaccount"
    return jwt({
        "iss": ISSUER,
        f"{prefix}/namespace": namespace,
        f"{prefix}/secret.name": secret,
        f"{prefix}/service-account.name": account,
        f"{prefix}/service-account.uid": "6952815e-ad6c-41ab-a7ad-ff7926343387",
        "sub": f"system:serviceaccount:{namespace}:{account}",
        **claims,
    })  # fmt: skip


def with_tokens(manifest: Any) -> Any:
    """Return a manifest with tokens in place of `legacy token of NAMESPACE/ACCOUNT in SECRET`, each time the same.

    In `data` they are base64.
    """
    made: dict[str, str] = {}

    def fill(value: Any, *, encoded: bool = False) -> Any:
        if isinstance(value, dict):
            return {key: fill(held, encoded=encoded or key == "data") for key, held in value.items()}
        match = _WRITTEN.fullmatch(value) if isinstance(value, str) else None
        if not match:
            return value
        text = made.setdefault(value, legacy_token(*match.groups()))
        return base64.b64encode(text.encode()).decode() if encoded else text

    return fill(manifest)
