"""Header and claims of a token, as Kubernetes writes them; nothing is verified.

Neither the signature nor the complete token is stored or quoted in an error.
"""

import base64
import binascii
import datetime as dt
import re
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from jwt import PyJWS
from jwt.exceptions import InvalidTokenError

from webhook.core.formatting import FastStrEnum, counted, quote

MAX_BYTES = 1 << 20
"""The largest request header that an API server accepts."""
ALGORITHMS = ("RS256", "ES256", "ES384", "ES512")
"""The signature algorithms of Kubernetes: all of them asymmetric."""
_UNKNOWN_CHARACTER = re.compile(rb"[^A-Za-z0-9_.-]")
_PARTS = 3


class TokenFormatError(ValueError):
    """The text is not a token; the message says why in one line, without quoting it."""


class TokenKind(FastStrEnum):
    """The kind of a token, according to its claims."""

    LEGACY = "legacy"
    POD = "pod"
    REQUEST = "request"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class BoundObject:
    """An object that a token names. It becomes invalid when the first of them is deleted."""

    kind: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """The claims of a token; absent ones are empty or None. Times are aware, in UTC.

    `bound` contains pod, secret and node in this order. `warn_after` is the requested expiry if the API server extended
    the token. `id` identifies it in audit logs.
    """

    kind: TokenKind
    algorithm: str
    key_id: str
    issuer: str
    subject: str
    namespace: str
    account: str
    account_uid: str
    audiences: tuple[str, ...]
    issued_at: dt.datetime | None
    not_before: dt.datetime | None
    expires_at: dt.datetime | None
    warn_after: dt.datetime | None
    bound: tuple[BoundObject, ...]
    id: str

    @property
    def lifetime(self) -> int | None:
        """Seconds from issue to expiry; None if one of them is unknown."""
        return _seconds(self.issued_at, self.expires_at)

    @property
    def requested_lifetime(self) -> int | None:
        """The requested lifetime in seconds if the actual one is longer, else None."""
        stated, lifetime = _seconds(self.issued_at, self.warn_after), self.lifetime
        return stated if stated is not None and (lifetime is None or stated < lifetime) else None

    @property
    def username(self) -> str:
        """The user name that the API server gives its account; empty if it names none."""
        return f"system:serviceaccount:{self.namespace}:{self.account}" if self.kind is not TokenKind.OTHER else ""


_Time = (
    Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)] | Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]
)
"""Seconds since 1970, up to the year 9999."""


class _Named(msgspec.Struct):
    name: str | None = None
    uid: str | None = None


class _Kubernetes(msgspec.Struct):
    namespace: str | None = None
    serviceaccount: _Named | None = None
    pod: _Named | None = None
    secret: _Named | None = None
    node: _Named | None = None
    warnafter: _Time | None = None


class _Claims(msgspec.Struct):
    iss: str | None = None
    sub: str | None = None
    aud: str | list[str] | None = None
    exp: _Time | None = None
    nbf: _Time | None = None
    iat: _Time | None = None
    jti: str | None = None
    kubernetes: _Kubernetes | None = msgspec.field(default=None, name="kubernetes.io")
    legacy_namespace: str | None = msgspec.field(default=None, name="kubernetes.io/serviceaccount/namespace")
    legacy_account: str | None = msgspec.field(default=None, name="kubernetes.io/serviceaccount/service-account.name")
    legacy_uid: str | None = msgspec.field(default=None, name="kubernetes.io/serviceaccount/service-account.uid")
    legacy_secret: str | None = msgspec.field(default=None, name="kubernetes.io/serviceaccount/secret.name")


def parse_token(text: bytes) -> Token:
    """Decode a token. Raises `TokenFormatError`."""
    header, payload = _decoded(text.strip())
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or not algorithm:
        raise TokenFormatError("the header names no algorithm (alg)")
    try:
        claims = msgspec.json.decode(payload, type=_Claims)
    except RecursionError:
        raise TokenFormatError("invalid claims: nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TokenFormatError(f"invalid claims: {error}") from None
    return _token(algorithm, header.get("kid") or "", claims)


def _decoded(text: bytes) -> tuple[dict[str, Any], bytes]:
    """Return header and payload. Errors have no cause, because that would contain the token."""
    if not text:
        raise TokenFormatError("it is empty")
    if len(text) > MAX_BYTES:
        raise TokenFormatError(f"it is larger than {MAX_BYTES >> 20} MiB, the limit of the API server")
    if _is_base64_of_token(text):
        raise TokenFormatError("it is base64-encoded, as in a Secret's data; decode it first (base64 -d)")
    if _UNKNOWN_CHARACTER.search(text):
        raise TokenFormatError("it contains invalid characters; pass the token alone, without 'Bearer' or quotes")
    if (parts := text.count(b".") + 1) != _PARTS:
        raise TokenFormatError(f"it has {counted(parts, 'part')} instead of {_PARTS}")
    try:
        decoded = PyJWS().decode_complete(text, options={"verify_signature": False})
    except InvalidTokenError as error:
        raise TokenFormatError(quote(str(error))[1:-1]) from None
    return decoded["header"], decoded["payload"]


def _is_base64_of_token(text: bytes) -> bool:
    try:
        return base64.b64decode(text, validate=True).count(b".") == _PARTS - 1
    except binascii.Error:
        return False


def _token(algorithm: str, key_id: str, claims: _Claims) -> Token:
    bound_claims = claims.kubernetes or _Kubernetes()
    account = bound_claims.serviceaccount or _Named()
    if bound_claims.namespace and account.name:
        kind = TokenKind.POD if bound_claims.pod else TokenKind.REQUEST
        namespace, name, uid = bound_claims.namespace, account.name, account.uid
        objects = (("Pod", bound_claims.pod), ("Secret", bound_claims.secret), ("Node", bound_claims.node))
        bound = tuple(BoundObject(of, named.name or "", named.uid or "") for of, named in objects if named)
    elif claims.legacy_namespace and claims.legacy_account:
        kind, namespace, name, uid = TokenKind.LEGACY, claims.legacy_namespace, claims.legacy_account, claims.legacy_uid
        bound = (BoundObject("Secret", claims.legacy_secret),) if claims.legacy_secret else ()
    else:
        kind, namespace, name, uid, bound = TokenKind.OTHER, "", "", "", ()
    return Token(
        kind=kind,
        algorithm=algorithm,
        key_id=key_id,
        issuer=claims.iss or "",
        subject=claims.sub or "",
        namespace=namespace,
        account=name,
        account_uid=uid or "",
        audiences=(claims.aud,) if isinstance(claims.aud, str) else tuple(claims.aud or ()),
        issued_at=_time(claims.iat),
        not_before=_time(claims.nbf),
        expires_at=_time(claims.exp),
        warn_after=_time(bound_claims.warnafter),
        bound=bound,
        id=claims.jti or "",
    )


def _time(seconds: float | None) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(int(seconds), dt.UTC)


def _seconds(start: dt.datetime | None, end: dt.datetime | None) -> int | None:
    return None if start is None or end is None else int((end - start).total_seconds())
