"""The keys that an issuer publishes (a JSON Web Key Set), and whether one of them has signed a token."""

import contextlib

import msgspec
from jwt import PyJWK, PyJWS
from jwt.exceptions import InvalidKeyError, InvalidSignatureError, PyJWTError

from webhook.core.formatting import listing, quote
from webhook.tokens.claims import ALGORITHMS, Token
from webhook.tokens.problems import algorithm_problems

KeySet = tuple[PyJWK, ...]
"""Public keys, each for one algorithm: a token cannot choose another one."""
_JWS = PyJWS(algorithms=ALGORITHMS, options={"enforce_minimum_key_length": True})
_KINDS = frozenset({"RSA", "EC"})
_MAX_TRIED = 100


class JwksError(ValueError):
    """The bytes contain no usable key; the message goes on after the name of their source."""


class _Jwk(msgspec.Struct, omit_defaults=True):
    """A public key as JSON; private parts and symmetric keys are not read."""

    kty: str
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    crv: str | None = None
    n: str | None = None
    e: str | None = None
    x: str | None = None
    y: str | None = None


class _Jwks(msgspec.Struct):
    keys: list[_Jwk]


def parse_jwks(data: bytes) -> KeySet:
    """Return the signature keys in a key set (JSON), without invalid ones and those that Kubernetes does not sign with.

    Raises `JwksError`.
    """
    try:
        entries = msgspec.json.decode(data, type=_Jwks).keys
    except RecursionError:
        raise JwksError("is not a JSON Web Key Set: nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JwksError(f"is not a JSON Web Key Set: {error}") from None
    keys = []
    for entry in entries:
        if entry.kty in _KINDS and entry.use in {None, "sig"}:
            with contextlib.suppress(PyJWTError):
                keys.append(PyJWK(msgspec.to_builtins(entry)))
    keys = [key for key in keys if key.algorithm_name in ALGORITHMS]
    if not keys:
        raise JwksError(f"has no key for {', '.join(ALGORITHMS)}")
    return tuple(keys)


def signature_problem(text: bytes, token: Token, keys: KeySet) -> str | None:
    """Return why none of the keys has signed the token, or None if one has.

    `text` is the complete token, `token` its claims. If it names no key, every key is tried.
    """
    problem = next(algorithm_problems(token), None)
    if problem:
        return problem
    candidates = [key for key in keys if not token.key_id or key.key_id == token.key_id]
    if not candidates:
        known = listing([key.key_id or "" for key in keys])
        return f"signed with key {quote(token.key_id)}, which is not among the issuer's keys: {known}"
    for key in [key for key in candidates if key.algorithm_name == token.algorithm][:_MAX_TRIED]:
        try:
            _JWS.decode_complete(text.strip(), key, algorithms=ALGORITHMS)
        except InvalidSignatureError:
            continue
        except InvalidKeyError:
            return f"signed with key {quote(key.key_id or '')}, which is too short to be trusted"
        return None
    which = "the key that the token names" if token.key_id else "any of the issuer's keys"
    return f"the signature was not made with {which}"
