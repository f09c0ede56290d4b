"""Keys and tokens for tests; none is stored."""

import base64
import functools
import json
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://kubernetes.default.svc"
VAULT = "https://vault.example.com"
ISSUED = 1_800_000_000
CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
Claims = dict[str, Any]


@dataclass(frozen=True)
class Signer:
    """A key that signs tokens."""

    algorithm: str
    key_id: str
    key: Any

    def sign(self, claims: Claims, **header: Any) -> bytes:
        """Return a token; `header` replaces fields of its header, and leaves out those that are None."""
        fields = {"alg": self.algorithm, "kid": self.key_id, "typ": None} | header
        shown = {name: value for name, value in fields.items() if value is not None}
        return jwt.api_jws.PyJWS().encode(json.dumps(claims).encode(), self.key, self.algorithm, shown).encode()

    @property
    def public(self) -> dict[str, Any]:
        """The public key as an issuer publishes it."""
        algorithm = RSAAlgorithm if self.algorithm.startswith("RS") else ECAlgorithm
        return {
            **algorithm.to_jwk(self.key.public_key(), as_dict=True),
            "use": "sig",
            "alg": self.algorithm,
            "kid": self.key_id,
        }


@functools.cache
def signer(algorithm: str = "RS256", key_id: str = "key-1", bits: int = 2048) -> Signer:
    """Return the signer of this name; it is the same one every time."""
    curve = CURVES.get(algorithm)
    key = ec.generate_private_key(curve()) if curve else rsa.generate_private_key(65537, bits)
    return Signer(algorithm, key_id, key)


def jwks(*signers: Signer) -> bytes:
    """Return the public keys as an issuer publishes them."""
    return json.dumps({"keys": [key.public for key in signers]}).encode()


def plain_claims(**changed: Any) -> Claims:
    """Return the claims of a token that was requested by hand for an hour; None leaves a claim out."""
    claims = {
        "aud": [ISSUER],
        "exp": ISSUED + 3600,
        "iat": ISSUED,
        "iss": ISSUER,
        "jti": "5f0c7f0e-3a55-4d0f-8a5c-1c1f6f4f0001",
        "kubernetes.io": {"namespace": "demo", "serviceaccount": {"name": "app", "uid": "uid-of-app"}},
        "nbf": ISSUED,
        "sub": "system:serviceaccount:demo:app",
    } | changed
    return {name: value for name, value in claims.items() if value is not None}


def pod_claims(**changed: Any) -> Claims:
    """Return the claims of the token that Kubernetes mounts by itself: requested for an hour, valid for a year."""
    whose = {
        "namespace": "demo",
        "node": {"name": "node-1", "uid": "uid-of-node"},
        "pod": {"name": "app-1", "uid": "uid-of-pod"},
        "serviceaccount": {"name": "app", "uid": "uid-of-app"},
        "warnafter": ISSUED + 3607,
    }
    return plain_claims(**{"exp": ISSUED + 31_536_000, "kubernetes.io": whose} | changed)


def legacy_claims(**changed: Any) -> Claims:
    """Return the claims of a token in a Secret."""
    prefix = "kubernetes.io/serviceaccount"
    claims = {
        "iss": "kubernetes/serviceaccount",
        f"{prefix}/namespace": "demo",
        f"{prefix}/secret.name": "app-token",
        f"{prefix}/service-account.name": "app",
        f"{prefix}/service-account.uid": "uid-of-app",
        "sub": "system:serviceaccount:demo:app",
    } | changed
    return {name: value for name, value in claims.items() if value is not None}


def unsigned(header: Any, claims: Any, signature: bytes = b"") -> bytes:
    """Return a token of any header and claims, with any signature."""
    return b".".join(encoded(part) for part in (header, claims, signature))


def encoded(part: Any) -> bytes:
    """Return bytes, or a value as JSON, as a token has them."""
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")
