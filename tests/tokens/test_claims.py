"""Parsing of tokens of each kind, and of text that is not a token."""

import base64
import datetime as dt

import pytest

from tests.tokens.signing import (
    ISSUED,
    ISSUER,
    legacy_claims,
    plain_claims,
    pod_claims,
    signer,
    unsigned,
)
from webhook.tokens.claims import MAX_BYTES, BoundObject, TokenFormatError, TokenKind, parse_token

SOUND = {"alg": "RS256", "kid": "key-1"}
GOOD = unsigned(SOUND, plain_claims(), b"signature")
HEADER, PAYLOAD, SIGNATURE = GOOD.split(b".")
RAW = "a raw value of a broken token"


def time(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def test_token_requested_by_hand() -> None:
    token = parse_token(signer().sign(plain_claims()))
    assert (token.kind, token.namespace, token.account, token.account_uid) == (
        TokenKind.REQUEST, "demo", "app", "uid-of-app",
    )  # fmt: skip
    assert (token.algorithm, token.key_id, token.issuer, token.audiences) == ("RS256", "key-1", ISSUER, (ISSUER,))
    assert (token.issued_at, token.not_before, token.expires_at) == (time(ISSUED), time(ISSUED), time(ISSUED + 3600))
    assert (token.lifetime, token.requested_lifetime, token.bound) == (3600, None, ())
    assert token.username == token.subject == "system:serviceaccount:demo:app"


def test_pod_token_with_requested_hour_and_year_of_validity() -> None:
    token = parse_token(signer().sign(pod_claims()))
    assert token.kind is TokenKind.POD
    assert (token.lifetime, token.requested_lifetime, token.warn_after) == (31_536_000, 3607, time(ISSUED + 3607))
    assert token.bound == (BoundObject("Pod", "app-1", "uid-of-pod"), BoundObject("Node", "node-1", "uid-of-node"))


@pytest.mark.parametrize("kind", ["secret", "node"])
def test_token_bound_to_another_object_than_a_pod_is_a_request(kind: str) -> None:
    whose = {"namespace": "demo", "serviceaccount": {"name": "app"}, kind: {"name": "x", "uid": "u"}}
    token = parse_token(unsigned(SOUND, plain_claims(**{"kubernetes.io": whose})))
    assert (token.kind, token.bound) == (TokenKind.REQUEST, (BoundObject(kind.title(), "x", "u"),))


def test_legacy_token_never_expires_and_is_bound_to_its_secret() -> None:
    token = parse_token(signer().sign(legacy_claims()))
    assert (token.kind, token.namespace, token.account) == (TokenKind.LEGACY, "demo", "app")
    assert (token.expires_at, token.lifetime, token.audiences) == (None, None, ())
    assert token.bound == (BoundObject("Secret", "app-token"),)


@pytest.mark.parametrize("claims", [
    {}, {"kubernetes.io": None}, plain_claims(**{"kubernetes.io": {}}),
    plain_claims(**{"kubernetes.io": {"namespace": "demo"}}),
    plain_claims(**{"kubernetes.io": {"namespace": "demo", "serviceaccount": {"name": ""}}}),
    {"kubernetes.io/serviceaccount/namespace": "demo"},
], ids=["nothing", "null", "empty", "no account", "an account without name", "half a legacy one"])  # fmt: skip
def test_claims_without_namespace_or_account_are_of_kind_other(claims) -> None:
    token = parse_token(unsigned(SOUND, claims))
    assert (token.kind, token.username, token.bound) == (TokenKind.OTHER, "", ())


@pytest.mark.parametrize(("audience", "read_as"), [
    (ISSUER, (ISSUER,)), ([], ()), (None, ()), (["a", "b"], ("a", "b")),
], ids=["one text", "empty", "none", "two"])  # fmt: skip
def test_audience_may_be_a_string_or_a_list(audience, read_as) -> None:
    assert parse_token(unsigned(SOUND, plain_claims(aud=audience))).audiences == read_as


def test_white_space_around_a_token_is_ignored() -> None:
    assert parse_token(b"\n " + GOOD + b"\r\n") == parse_token(GOOD)


def test_token_contains_neither_signature_nor_text() -> None:
    token = signer().sign(plain_claims())
    shown = repr(parse_token(token)).encode()
    assert not any(part in shown for part in (token, *token.split(b".")))


UNREADABLE = {
    "nothing": (b" \n", "it is empty"),
    "garbage": (b"hunter2", "it has 1 part instead of 3"),
    "two parts": (b"aaaa.bbbb", "it has 2 parts instead of 3"),
    "five parts": (b"a.b.c.d.e", "it has 5 parts instead of 3"),
    "no parts": (b"..", "Invalid header string"),
    "bytes": (b"\xff\x00.\x01.\x02", "contains invalid characters"),
    "the word Bearer before it": (b"Bearer " + GOOD, "without 'Bearer' or quotes"),
    "quotes": (b'"' + GOOD + b'"', "without 'Bearer' or quotes"),
    "a line end in it": (GOOD.replace(b".", b"\n."), "contains invalid characters"),
    "padding": (HEADER + b"=." + PAYLOAD + b".", "contains invalid characters"),
    "base64 once more": (base64.b64encode(GOOD), "is base64-encoded, as in a Secret's data"),
    "huge": (HEADER + b"." + b"A" * MAX_BYTES + b".", "larger than 1 MiB"),
    "header is no base64": (b"A." + PAYLOAD + b".", "Invalid header padding"),
    "claims are no base64": (HEADER + b".A." + SIGNATURE, "Invalid payload padding"),
    "signature is no base64": (HEADER + b"." + PAYLOAD + b".A", "Invalid crypto padding"),
    "header is no JSON": (unsigned(RAW.encode(), {}), "Invalid header string"),
    "header is a list": (unsigned(["alg"], {}), "must be a json object"),
    "header nests too deep": (unsigned(b"[" * 50_000, {}), "Invalid header string"),
    "header is no UTF-8": (unsigned(b'{"alg":"\xff"}', {}), "Invalid header string"),
    "no algorithm": (unsigned({"kid": "x"}, {}), "names no algorithm"),
    "the algorithm is a number": (unsigned({"alg": 256}, {}), "names no algorithm"),
    "the key id is a number": (unsigned({"alg": "RS256", "kid": 1}, {}), "Key ID header parameter must be a string"),
    "a header that has to be understood": (unsigned(SOUND | {"crit": ["x"], "x": 1}, {}), "Unsupported critical"),
    "a detached payload": (unsigned(SOUND | {"b64": False, "crit": ["b64"]}, b""), "detached_payload"),
    "claims are no JSON": (unsigned(SOUND, RAW.encode()), "invalid claims"),
    "claims are a list": (unsigned(SOUND, []), "invalid claims: Expected `object`, got `array`"),
    "claims are no UTF-8": (unsigned(SOUND, b'{"iss":"\xff"}'), "invalid claims"),
    "claims nest too deep": (unsigned(SOUND, b'{"x":' + b"[" * 50_000), "nested too deeply"),
    "half a character": (unsigned(SOUND, b'{"iss":"\\ud800"}'), "invalid claims"),
    "an end in words": (unsigned(SOUND, plain_claims(exp="tomorrow")), "got `str` - at `$.exp`"),
    "an end beyond time": (unsigned(SOUND, plain_claims(exp=1e300)), "at `$.exp`"),
    "an end before time": (unsigned(SOUND, plain_claims(exp=-1)), "at `$.exp`"),
    "an end that is true": (unsigned(SOUND, plain_claims(exp=True)), "at `$.exp`"),
    "an audience that is a number": (unsigned(SOUND, plain_claims(aud=[1])), "at `$.aud[0]`"),
    "an issuer that is a list": (unsigned(SOUND, plain_claims(iss=[])), "at `$.iss`"),
    "a pod that is a text": (unsigned(SOUND, plain_claims(**{"kubernetes.io": {"pod": "x"}})), "got `str`"),
}


@pytest.mark.parametrize(("text", "why"), UNREADABLE.values(), ids=UNREADABLE)
def test_invalid_token_raises_an_error_that_does_not_quote_it(text: bytes, why: str) -> None:
    with pytest.raises(TokenFormatError) as caught:
        parse_token(text)
    said = str(caught.value)
    assert why in said
    assert said.isprintable()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert RAW not in said
    windows = {text[at : at + 12].decode(errors="replace") for at in range(max(0, min(len(text), 2000) - 11))}
    assert not any(window in said for window in windows)


def test_times_may_be_fractions_and_far_in_the_future() -> None:
    token = parse_token(unsigned(SOUND, plain_claims(iat=ISSUED + 0.5, exp=253_402_300_799)))
    assert token.issued_at == time(ISSUED)
    assert token.expires_at == dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


def test_large_payload_is_parsed() -> None:
    audiences = [f"https://{number}.example.com" for number in range(10_000)]
    assert len(parse_token(unsigned(SOUND, plain_claims(aud=audiences))).audiences) == 10_000
