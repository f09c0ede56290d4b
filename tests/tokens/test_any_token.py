"""Any input as a token: no traceback, and no output that contains the signature."""

import contextlib
import json
import random

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokens.signing import encoded, jwks, legacy_claims, plain_claims, pod_claims, signer
from webhook.cli import main
from webhook.tokens.jwks import JwksError, parse_jwks

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
BASES = (plain_claims(), pod_claims(), legacy_claims())
NAMES = sorted({name for claims in BASES for name in claims})
SIGNATURE = signer().sign(plain_claims()).split(b".")[2]


@st.composite
def changed_claims(draw: st.DrawFn) -> bytes:
    """Return claims of which some are anything."""
    claims = draw(st.sampled_from(BASES)) | draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3))
    whose = draw(st.dictionaries(st.sampled_from(["namespace", "pod", "serviceaccount", "warnafter"]), VALUES))
    if isinstance(claims.get("kubernetes.io"), dict):
        claims["kubernetes.io"] = claims["kubernetes.io"] | whose
    return json.dumps(claims).encode()


@st.composite
def altered_tokens(draw: st.DrawFn) -> bytes:
    """Return a token that was altered in some places."""
    token = signer().sign(draw(st.sampled_from(BASES)))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 4))):
        at = chance.randrange(len(token))
        token = token[:at] + draw(st.sampled_from([b"", b".", b"A", b"=", b"\n", b"\xff"])) + token[at + 1 :]
    return token


HEADERS = st.fixed_dictionaries({"alg": st.sampled_from(["RS256", "none", "HS256"]) | VALUES}, optional={
    "kid": st.just("key-1") | VALUES, "crit": VALUES, "b64": VALUES, "typ": VALUES,
})  # fmt: skip
TOKENS = st.one_of(
    changed_claims().map(lambda claims: signer().sign(json.loads(claims))),
    altered_tokens(),
    st.tuples(HEADERS | VALUES, changed_claims() | VALUES | st.binary()).map(
        lambda parts: b".".join((*map(encoded, parts), SIGNATURE))
    ),
    st.binary(),
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("keys") / "jwks.json"
    file.write_bytes(jwks(signer(), signer("ES256", "key-2")))
    return str(file)


@settings(max_examples=300)
@given(TOKENS)
def test_any_token_is_reported_without_traceback_or_signature(keys: str, token: bytes) -> None:
    for arguments in (
        ["inspect"],
        ["inspect", "--output", "json"],
        ["verify", "--jwks", keys],
        ["verify", "--jwks", keys, "--output", "json", "--audience", "x"],
    ):
        done = CliRunner().invoke(main, ["token", *arguments], input=token)
        assert done.exit_code in {0, 1, 2}
        assert "Traceback" not in done.output
        assert done.stdout or done.exit_code == 2
        assert SIGNATURE.decode()[:40] not in done.output


@settings(max_examples=300)
@given(st.lists(st.dictionaries(st.sampled_from(["kty", "kid", "alg", "crv", "n", "e", "x", "y", "use", "d"]),
                                st.sampled_from(["RSA", "EC", "P-256", "RS256", "ES256", "AQAB", "sig"]) | VALUES)
                | st.sampled_from([signer().public, signer("ES256").public]), max_size=4) | VALUES)  # fmt: skip
def test_parse_jwks_returns_keys_or_raises_jwks_error(keys) -> None:
    with contextlib.suppress(JwksError):
        assert parse_jwks(json.dumps({"keys": keys}).encode())


def test_largest_token_is_verified(keys: str) -> None:
    token = signer().sign(plain_claims(aud=["x" * 100] * 7000))
    done = CliRunner().invoke(main, ["token", "verify", "--jwks", keys], input=token)
    assert done.exit_code == 1
    assert len(done.output) < 10_000
