"""The keys that an issuer publishes (a JSON Web Key Set), and whether a token is signed with one of them."""

import contextlib
from dataclasses import dataclass

import msgspec
from jwt import PyJWK, PyJWS
from jwt.exceptions import InvalidKeyError, InvalidSignatureError, PyJWTError

from webhook.core.text import listing, quote
from webhook.tokens.claims import ALGORITHMS, Token
from webhook.tokens.problems import algorithm_problems

_JWS = PyJWS(algorithms=ALGORITHMS, options={"enforce_minimum_key_length": True})
_KINDS = frozenset({"RSA", "EC"})
_MAX_TRIED = 100


class JwksError(ValueError):
    """The bytes hold no key that a token could be signed with; the message says why."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """Public keys, each for one algorithm: a token can't have a key taken for anything else."""

    keys: tuple[PyJWK, ...]


class _Jwk(msgspec.Struct, omit_defaults=True):
    """A public key as JSON; private parts and the secrets of symmetric algorithms are left unread."""

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
    """Return the keys for signatures in a key set, as JSON. Raises `JwksError`.

    KeySet of kinds that Kubernetes doesn't sign with are passed over, and so are those that are no sound keys.
    """
    try:
        found = msgspec.json.decode(data, type=_Jwks).keys
    except RecursionError:
        raise JwksError("is no JSON Web Key Set: it nests too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JwksError(f"is no JSON Web Key Set: {error}") from None
    keys = []
    for one in found:
        if one.kty in _KINDS and one.use in {None, "sig"}:
            with contextlib.suppress(PyJWTError):
                keys.append(PyJWK(msgspec.to_builtins(one)))
    keys = [key for key in keys if key.algorithm_name in ALGORITHMS]
    if not keys:
        raise JwksError(f"holds no key for {', '.join(ALGORITHMS)}")
    return KeySet(tuple(keys))


def signature_problem(text: bytes, token: Token, keys: KeySet) -> str | None:
    """Return why none of the keys has signed a token, to be read after 'it', or None where one has.

    `text` is the token as a whole and `token` what was read of it. Where it names no key, every key is tried.
    """
    amiss = next(algorithm_problems(token), None)
    if amiss:
        return amiss
    named = [key for key in keys.keys if not token.key_id or key.key_id == token.key_id]
    if not named:
        known = listing([key.key_id or "" for key in keys.keys])
        return f"is signed with the key {quote(token.key_id)}, which isn't among the issuer's: {known}"
    for key in [key for key in named if key.algorithm_name == token.algorithm][:_MAX_TRIED]:
        try:
            _JWS.decode_complete(text.strip(), key, algorithms=ALGORITHMS)
        except InvalidSignatureError:
            continue
        except InvalidKeyError:
            return f"is signed with the key {quote(key.key_id or '')}, which is too short to be trusted"
        return None
    return "isn't signed with the key that it names" if token.key_id else "isn't signed with any of the issuer's keys"
