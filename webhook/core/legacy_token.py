"""Finds out whose legacy token a text is. No text outlives the call.

The API server accepts a legacy token as long as the Secret that the token names, of whatever type, holds exactly the
same text under the key `token` (Kubernetes: pkg/serviceaccount/legacy.go, `Validate`). The text may contain white
space, which the API server ignores: line breaks within the payload, any white space within header and signature. A
client can send such a text as a web socket's subprotocol. The payload itself can't be changed, because it is signed.
"""

import base64
import binascii
import re

import msgspec

ISSUER_CLAIM = b'"iss":"kubernetes/serviceaccount"'
"""How the issuer claim is written in the payload of every legacy token, and of no other token."""
_NOT_BASE64URL = re.compile(rb"[^A-Za-z0-9_-]+")
_MAX_NAME = 253


class LegacyToken(msgspec.Struct, frozen=True, gc=False):
    """Whose token a text is, and the Secret that it was issued for, by its own claims; empty if it has none.

    The signature isn't verified: a forged text is no valid token, so nobody gains anything by it.
    """

    namespace: str = ""
    account: str = ""
    secret: str = ""


class _Claims(msgspec.Struct, frozen=True, gc=False):
    namespace: str = msgspec.field(default="", name="kubernetes.io/serviceaccount/namespace")
    account: str = msgspec.field(default="", name="kubernetes.io/serviceaccount/service-account.name")
    secret: str = msgspec.field(default="", name="kubernetes.io/serviceaccount/secret.name")


class _JsonForm(msgspec.Struct, frozen=True, gc=False):
    payload: str = ""


_decode_json_form = msgspec.json.Decoder(_JsonForm).decode
_decode_claims = msgspec.json.Decoder(_Claims).decode


def read_legacy_token(text: bytes) -> LegacyToken | None:
    """Return whose legacy token a text is, or None if it isn't one."""
    payload = _decode_payload(_payload_of(text))
    if ISSUER_CLAIM not in payload:
        return None
    try:
        claims = _decode_claims(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return LegacyToken()
    return LegacyToken(_name(claims.namespace), _name(claims.account), _name(claims.secret))


def _payload_of(text: bytes) -> bytes:
    """Return the encoded payload of a JWS in compact or, as older versions of the API server accept it, JSON form."""
    if text.lstrip().startswith(b"{"):
        try:
            return _decode_json_form(text).payload.encode()
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return b""
    parts = text.split(b".", 3)
    return parts[1] if len(parts) == 3 else b""


def _decode_payload(encoded: bytes) -> bytes:
    """Decode base64url at least as leniently as Go does: white space and unused bits are ignored."""
    characters = _NOT_BASE64URL.sub(b"", encoded)
    try:
        return base64.urlsafe_b64decode(characters + b"=" * (-len(characters) % 4))
    except binascii.Error:
        return b""


def _name(claim: str) -> str:
    """Return a name from a claim, empty if no object in Kubernetes can have it."""
    return claim if len(claim) <= _MAX_NAME else ""
