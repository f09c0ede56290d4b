"""What is read of a Secret's content: the token's account and whether it changes, nothing of the text."""

import base64
import json

import pytest

from tests.legacy_tokens import base64url, jwt, legacy_token
from tests.reviews import review
from webhook.core.admission_request import Phase, manifest_request, read_review
from webhook.core.legacy_token import LegacyToken, read_legacy_token
from webhook.core.secret_content import read_secret


def secret(data: object = None, **more: object) -> bytes:
    return json.dumps({"kind": "Secret", "metadata": {"name": "t"}, "type": "Opaque", "data": data, **more}).encode()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def spaced(token: str, header: str, payload: str, signature: str) -> str:
    return ".".join(
        space.join(part) for space, part in zip((header, payload, signature), token.split("."), strict=True)
    )


TOKEN = legacy_token("demo", "app", "t")
FOUND = LegacyToken("demo", "app", "t")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TOKEN, id="as issued"),
        pytest.param(f" {TOKEN}\n", id="white space around"),
        pytest.param(spaced(TOKEN, "\t", "\r\n", "\u2003"), id="white space within"),
        pytest.param(legacy_token("demo", "app", "t", aaa=1), id="another order of claims"),
        pytest.param(TOKEN.rsplit(".", 1)[0] + ".", id="no signature"),
    ],
)
def test_read_legacy_token_finds_it_however_it_is_written(text) -> None:
    assert read_legacy_token(text.encode()) == FOUND


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("a.b.c", id="no base64"),
        pytest.param(f"{TOKEN}.", id="four parts"),
        pytest.param(jwt({"iss": "https://kubernetes.default.svc", "sub": "x"}), id="another issuer"),
        pytest.param("\xff" * 9, id="no text"),
    ],
)
def test_read_legacy_token_of_other_text_is_none(text) -> None:
    assert read_legacy_token(text.encode("latin-1")) is None


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param('{"iss":"kubernetes/serviceaccount"', id="cut off"),
        pytest.param('{"iss":"kubernetes/serviceaccount","kubernetes.io/serviceaccount/namespace":7}', id="no string"),
        pytest.param('{"iss":"kubernetes/serviceaccount"}', id="no claims"),
    ],
)
def test_legacy_token_without_readable_claims_names_no_account(payload) -> None:
    assert read_legacy_token(f"x.{base64url(payload.encode())}.x".encode()) == LegacyToken()


def test_read_legacy_token_drops_names_that_no_object_has() -> None:
    assert read_legacy_token(legacy_token("n" * 254, "a" * 260_000, "s" * 253).encode()) == LegacyToken(
        secret="s" * 253
    )


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(secret(), id="no data"),
        pytest.param(secret({}), id="empty data"),
        pytest.param(secret({"token": None}), id="null"),
        pytest.param(secret({"token": ""}), id="empty"),
        pytest.param(secret({"token": 7}), id="a number"),
        pytest.param(secret({"token": {}}), id="a mapping"),
        pytest.param(secret({"token": "%"}), id="no base64"),
        pytest.param(secret({"password": encoded(TOKEN)}), id="another key"),
        pytest.param(secret({"token": encoded(TOKEN)}, stringData={"token": ""}), id="overwritten"),
    ],
)
def test_read_secret_without_a_token_holds_none(raw) -> None:
    read, _ = read_secret(raw)
    assert (read.has_token, read.token_changed, read.legacy_token) == (False, False, None)


def test_read_secret_compares_with_the_old_one() -> None:
    raw, other = secret({"token": encoded(TOKEN)}), secret({"token": encoded(f"{TOKEN}\n")})
    new, old = read_secret(raw, raw)
    assert (new.token_changed, new.legacy_token, old.legacy_token) == (False, FOUND, FOUND)
    assert read_secret(raw, other)[0].token_changed
    assert read_secret(raw, secret())[0].token_changed
    assert read_secret(secret(), raw)[0].token_changed
    assert not read_secret(secret(), secret({"token": ""}))[0].token_changed


def texts(token: str) -> list[str]:
    """Return what gives a token away: its text and its parts, as they are and in base64."""
    parts = [part for part in (token, *token.split(".")) if len(part) > 20]
    return [*parts, *(encoded(part)[:40] for part in parts)]


@pytest.mark.covers("threat-model: tokens in memory or logs")
def test_request_of_a_secret_holds_nothing_of_its_content() -> None:
    held = {"kind": "Secret", "type": "Opaque", "metadata": {"name": "t"},
            "data": {"token": encoded(TOKEN), "password": encoded("hunter2-hunter2")}}  # fmt: skip
    for old in (None, held | {"data": {"token": encoded(legacy_token())}}):
        request = read_review(review(held, operation="UPDATE", old=old), Phase.VALIDATE)
        shown = repr(request)
        assert not [text for text in [*texts(TOKEN), encoded("hunter2-hunter2")] if text in shown]
        assert request.object.legacy_token == FOUND


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"metadata": {"name": [TOKEN]}}, id="metadata"),
        pytest.param({"type": [TOKEN]}, id="type"),
        pytest.param({"data": TOKEN}, id="data"),
        pytest.param({"data": [TOKEN]}, id="a list"),
        pytest.param({"stringData": TOKEN}, id="stringData"),
    ],
)
@pytest.mark.covers("threat-model: tokens in memory or logs")
def test_problem_of_an_unreadable_secret_quotes_nothing(broken) -> None:
    request = read_review(review({"kind": "Secret", **broken}), Phase.VALIDATE)
    assert request.problem
    assert not [text for text in texts(TOKEN) if text in repr(request)]


def test_text_that_is_no_unicode_is_no_error() -> None:
    body = review({"kind": "Secret", "data": {"token": "HERE"}}).replace(b'"HERE"', b'"\xff"')
    request = read_review(body, Phase.VALIDATE)
    assert (request.problem, request.object.has_token) == ("", False)


@pytest.mark.parametrize("held", [{"data": {"token": encoded(TOKEN)}}, {"stringData": {"token": TOKEN}}], ids=list)
def test_manifest_with_a_token_is_found_offline(held) -> None:
    raw = json.dumps({"kind": "Secret", "type": "Opaque", "metadata": {"name": "t"}, **held}).encode()
    request = manifest_request(("", "Secret"), raw, namespace="demo")
    assert (request.object.legacy_token, request.object.token_pointer) == (FOUND, f"/{next(iter(held))}/token")
    assert not [text for text in texts(TOKEN) if text in repr(request)]
