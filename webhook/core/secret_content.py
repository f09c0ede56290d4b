"""Reads a Secret without storing its content.

The API server sends a Secret with its content. A `ReviewedSecret` only says whether there is a token, whether an update
changes it, and whose legacy token it is. Content is decoded for the key `token` alone, is released when the call
returns, and is in no error message.
"""

import base64
import binascii
from typing import Any

import msgspec
from msgspec.structs import replace

from webhook.core.k8s_types import Object, ObjectMeta
from webhook.core.legacy_token import LegacyToken, read_legacy_token
from webhook.core.token_objects import Secret

Json = bytes | msgspec.Raw
_NOTHING = msgspec.Raw(b"null")


class ReviewedSecret(Secret, frozen=True):
    """A Secret and what its key `token` contains; created by `read_secret`, never decoded.

    `token_pointer` is where the token is (RFC 6901). `token_changed` says that the request sets it to another value.
    `legacy_token` is whose legacy token it is, None if it is none.
    """

    token_pointer: str = "/data/token"  # noqa: S105 - a pointer
    has_token: bool = False
    token_changed: bool = False
    legacy_token: LegacyToken | None = None

    def account_in(self, namespace: str) -> str:
        """Return the account of the Secret's token, present or future; `namespace/name` if in another namespace."""
        return self.account if self.is_legacy else self.token_account_in(namespace) or self.account

    def token_account_in(self, namespace: str) -> str:
        """Return the account of the legacy token in the Secret, as `account_in` does; empty if there is none."""
        token = self.legacy_token
        if token is None:
            return ""
        return token.account if token.namespace == namespace else f"{token.namespace}/{token.account}"


class _TokenKey(Object, frozen=True):
    token: msgspec.Raw = _NOTHING


class _SecretWithContent(Object, frozen=True):
    metadata: ObjectMeta | None = None
    type: str | None = None
    data: _TokenKey | None = None
    string_data: _TokenKey | None = None


_decode_secret = msgspec.json.Decoder(_SecretWithContent).decode
_decode_any = msgspec.json.Decoder(Any).decode


def read_secret(new: Json, old: Json | None = None) -> tuple[ReviewedSecret, ReviewedSecret | None]:
    """Return a Secret, and the Secret that it replaces (None if there is none), both without content.

    Raises the errors of `msgspec` if one isn't a Secret. `stringData`, which only manifests have, takes precedence over
    `data`, as in the API server.
    """
    secret, text = _read(new)
    if old is None:
        return secret, None
    old_secret, old_text = _read(old)
    return replace(secret, token_changed=text != old_text), old_secret


def _read(raw: Json) -> tuple[ReviewedSecret, bytes]:
    decoded = _decode_secret(raw)
    in_string_data = decoded.string_data is not None and bytes(decoded.string_data.token) != b"null"
    held = decoded.string_data if in_string_data else decoded.data
    text = b"" if held is None else _text(held.token, encoded=not in_string_data)
    secret = ReviewedSecret(
        decoded.metadata,
        decoded.type,
        token_pointer="/stringData/token" if in_string_data else "/data/token",
        has_token=bool(text),
        token_changed=bool(text),
        legacy_token=read_legacy_token(text),
    )
    return secret, text


def _text(raw: msgspec.Raw, *, encoded: bool) -> bytes:
    """Return the bytes of a value of `data` or `stringData`, none if the API server would reject it."""
    try:
        value = _decode_any(raw)
        if not isinstance(value, str):
            return b""
        return base64.b64decode(value) if encoded else value.encode()
    except (msgspec.DecodeError, RecursionError, UnicodeError, binascii.Error, ValueError):
        return b""
