"""Signatures and the keys that issuers publish."""

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives import serialization

from tests.tokens.signing import Signer, encoded, jwks, plain_claims, signer, unsigned
from webhook.tokens.claims import ALGORITHMS, parse_token
from webhook.tokens.jwks import JwksError, parse_jwks, signature_problem

CLAIMS = plain_claims()
MISMATCH = "the signature was not made with the key that the token names"


def problem(text: bytes, *signers: Signer) -> str | None:
    return signature_problem(text, parse_token(text), parse_jwks(jwks(*signers or (signer(),))))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "ES512"])
def test_signature_of_every_kubernetes_algorithm_is_verified(algorithm: str) -> None:
    assert algorithm in ALGORITHMS
    first, second = signer(algorithm), signer(algorithm, "key-2")
    assert problem(first.sign(CLAIMS), first, second) is None
    forged = Signer(algorithm, first.key_id, second.key).sign(CLAIMS)
    assert problem(forged, first, second) == MISMATCH


def test_changed_claims_are_detected() -> None:
    header, _, signature = signer().sign(CLAIMS).split(b".")
    changed = b".".join((header, encoded(plain_claims(sub="system:serviceaccount:demo:admin")), signature))
    assert problem(changed) == MISMATCH


def test_unknown_key_is_reported_with_the_known_ones() -> None:
    said = problem(signer(key_id="other").sign(CLAIMS), signer(), signer(key_id="key-2"))
    assert said == 'signed with key "other", which is not among the issuer\'s keys: "key-1", "key-2"'


def test_token_without_key_id_is_tried_with_every_key() -> None:
    signers = (signer("ES256", "e"), signer(key_id="key-2"), signer())
    assert problem(signer().sign(CLAIMS, kid=None), *signers) is None
    stranger = signer(key_id="stranger").sign(CLAIMS, kid=None)
    assert problem(stranger, *signers) == "the signature was not made with any of the issuer's keys"


def public_key_as_secret() -> bytes:
    """Return a token whose 'secret' is what everybody knows: the issuer's public key."""
    pem = signer().key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    said = encoded({"alg": "HS256", "kid": "key-1"}) + b"." + encoded(CLAIMS)
    return said + b"." + encoded(hmac.digest(pem, said, hashlib.sha256))


@pytest.mark.parametrize(("text", "why"), [
    (unsigned({"alg": "none"}, CLAIMS), "unsigned (alg: none)"),
    (unsigned({"alg": "None", "kid": "key-1"}, CLAIMS), "unsigned (alg: none)"),
    (public_key_as_secret(), 'signed with "HS256"; Kubernetes signs with RS256, ES256, ES384, ES512'),
    (unsigned({"alg": "PS256", "kid": "key-1"}, CLAIMS, b"x" * 256), 'signed with "PS256"'),
    (unsigned({"alg": "RS256", "kid": "key-1"}, CLAIMS), MISMATCH),
    (unsigned({"alg": "ES256", "kid": "key-1"}, CLAIMS, b"x" * 64), MISMATCH),
], ids=["nobody", "nobody, in other letters", "the public key as a secret", "another algorithm", "no signature",
        "an algorithm that the key isn't for"])  # fmt: skip
def test_forged_signature_is_rejected(text: bytes, why: str) -> None:
    assert why in problem(text)


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
def test_short_key_is_not_trusted() -> None:
    short = signer(key_id="short", bits=1024)
    assert problem(short.sign(CLAIMS), short) == 'signed with key "short", which is too short to be trusted'


def test_unusable_keys_are_skipped() -> None:
    good, elliptic = signer().public, signer("ES256", "e").public
    others = [
        good | {"use": "enc", "kid": "enc"}, {"kty": "oct", "kid": "oct", "k": "c2VjcmV0"}, {"kty": "PQ", "kid": "pq"},
        good | {"alg": "RS512", "kid": "rs512"}, good | {"n": "!", "kid": "broken"}, elliptic | {"crv": "P-0"},
        elliptic | {"x": "AA"}, {"kty": "RSA"}, {"kty": "EC", "crv": "P-256"},
    ]  # fmt: skip
    keys = parse_jwks(json.dumps({"keys": [*others, good]}).encode())
    assert [key.key_id for key in keys] == ["key-1"]
    with pytest.raises(JwksError, match="has no key for RS256, ES256, ES384, ES512"):
        parse_jwks(json.dumps({"keys": others}).encode())


def test_private_key_is_read_as_its_public_key() -> None:
    numbers = signer().key.private_numbers()
    secret = base64.urlsafe_b64encode(numbers.d.to_bytes(256, "big")).rstrip(b"=").decode()
    [key] = parse_jwks(json.dumps({"keys": [signer().public | {"d": secret}]}).encode())
    assert not hasattr(key.key, "private_numbers")


@pytest.mark.parametrize("data", [
    b"", b"no JSON", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [1]}', b'{"keys": [{"kid": "x"}]}', b"\xff",
    b'{"keys": [{"kty": 1}]}', b'{"x": ' + b"[" * 50_000,
], ids=["nothing", "no JSON", "a list", "no keys", "keys by name", "a number", "no kind", "bytes",
        "a number for a kind", "too deep"])  # fmt: skip
def test_invalid_key_set_raises_jwks_error(data: bytes) -> None:
    with pytest.raises(JwksError, match="is not a JSON Web Key Set: "):
        parse_jwks(data)
