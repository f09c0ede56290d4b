"""Reading tokens: what each kind says of itself, and what is no token."""

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


def test_a_token_asked_for_by_hand() -> None:
    token = parse_token(signer().sign(plain_claims()))
    assert (token.kind, token.namespace, token.account, token.account_uid) == (
        TokenKind.REQUEST, "demo", "app", "uid-of-app",
    )  # fmt: skip
    assert (token.algorithm, token.key_id, token.issuer, token.audiences) == ("RS256", "key-1", ISSUER, (ISSUER,))
    assert (token.issued_at, token.not_before, token.expires_at) == (time(ISSUED), time(ISSUED), time(ISSUED + 3600))
    assert (token.lifetime, token.requested_lifetime, token.bound) == (3600, None, ())
    assert token.username == token.subject == "system:serviceaccount:demo:app"


def test_a_pods_token_that_says_an_hour_and_lives_a_year() -> None:
    token = parse_token(signer().sign(pod_claims()))
    assert token.kind is TokenKind.POD
    assert (token.lifetime, token.requested_lifetime, token.warn_after) == (31_536_000, 3607, time(ISSUED + 3607))
    assert token.bound == (BoundObject("Pod", "app-1", "uid-of-pod"), BoundObject("Node", "node-1", "uid-of-node"))


@pytest.mark.parametrize("kind", ["secret", "node"])
def test_a_token_bound_to_what_is_no_pod_was_asked_for(kind: str) -> None:
    whose = {"namespace": "demo", "serviceaccount": {"name": "app"}, kind: {"name": "x", "uid": "u"}}
    token = parse_token(unsigned(SOUND, plain_claims(**{"kubernetes.io": whose})))
    assert (token.kind, token.bound) == (TokenKind.REQUEST, (BoundObject(kind.title(), "x", "u"),))


def test_a_legacy_token_has_no_end_and_hangs_on_its_secret() -> None:
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
def test_claims_without_namespace_or_account_are_no_service_accounts(claims) -> None:
    token = parse_token(unsigned(SOUND, claims))
    assert (token.kind, token.username, token.bound) == (TokenKind.OTHER, "", ())


@pytest.mark.parametrize(("audience", "read_as"), [
    (ISSUER, (ISSUER,)), ([], ()), (None, ()), (["a", "b"], ("a", "b")),
], ids=["one text", "empty", "none", "two"])  # fmt: skip
def test_the_audience_may_be_a_text_or_a_list(audience, read_as) -> None:
    assert parse_token(unsigned(SOUND, plain_claims(aud=audience))).audiences == read_as


def test_what_stands_around_a_token_is_left_out() -> None:
    assert parse_token(b"\n " + GOOD + b"\r\n") == parse_token(GOOD)


def test_neither_the_signature_nor_the_whole_token_is_kept() -> None:
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
def test_what_is_no_token_is_told_why_without_quoting_it(text: bytes, why: str) -> None:
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


def test_times_may_be_fractions_and_years_far_away() -> None:
    token = parse_token(unsigned(SOUND, plain_claims(iat=ISSUED + 0.5, exp=253_402_300_799)))
    assert token.issued_at == time(ISSUED)
    assert token.expires_at == dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


def test_a_payload_that_is_large_and_a_token_is_parse_token() -> None:
    audiences = [f"https://{number}.example.com" for number in range(10_000)]
    assert len(parse_token(unsigned(SOUND, plain_claims(aud=audiences))).audiences) == 10_000
