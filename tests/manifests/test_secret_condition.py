"""Which texts in a Secret the webhook's matchCondition recognises: run here as CEL runs it in the API server.

`tests/end_to_end/cases/secrets.py` has a real API server evaluate it.
"""

import base64
import json
import random
import re
import string

import pytest

from tests.legacy_tokens import ISSUER, jwt, legacy_token
from tests.manifests.rendering import render, the
from webhook.core.legacy_token import ISSUER_CLAIM, read_legacy_token

NAMES = string.ascii_lowercase + string.digits
RANDOM = random.Random(12)


def expression() -> str:
    configuration = the("ValidatingWebhookConfiguration", render("manifests"))
    [webhook] = [webhook for webhook in configuration["webhooks"] if webhook["name"].startswith("secrets.")]
    return webhook["matchConditions"][0]["expression"]


def parts() -> list[str]:
    [listed] = re.findall(r"\[([^\]]+)\]\.exists\(part", expression())
    return re.findall(r"'([^']+)'", listed)


PARTS = parts()
FIRST = re.findall(r"'(.)'", re.findall(r"\[([^\]]+)\]\.exists\(first", expression())[0])
[BROKEN] = [re.compile(pattern) for pattern in re.findall(r"token\.matches\(\s*'([^']+)'", expression())]


def is_sent(text: str | bytes) -> bool:
    """Say whether the condition has a Secret sent whose key `token` is set to this text."""
    data = base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()
    if not data.startswith(tuple(FIRST)):
        return False
    return len(data) > 65536 or any(part in data for part in PARTS) or bool(BROKEN.match(data))


def name() -> str:
    return "".join(RANDOM.choices(NAMES, k=RANDOM.randint(1, 60)))


def fixed_base64(data: bytes, offset: int, encode) -> str:
    """Return the characters of base64 that depend on `data` alone, where it begins `offset` bytes into a group."""
    padded = b"\0" * offset + data
    encoded = encode(padded + b"\0" * (-len(padded) % 3)).decode()
    return encoded[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]


def test_parts_are_the_issuer_claim_in_every_alignment() -> None:
    inner = [fixed_base64(ISSUER_CLAIM, offset, base64.urlsafe_b64encode) for offset in range(3)]
    assert [fixed_base64(text.encode(), offset, base64.b64encode) for text in inner for offset in range(3)] == PARTS


def test_legacy_token_with_any_names_is_sent() -> None:
    for _ in range(500):
        assert is_sent(legacy_token(name(), name(), name()))


@pytest.mark.parametrize("first", ["a", "aa", "aaa"])
def test_legacy_token_with_claims_before_the_issuer_is_sent(first) -> None:
    for _ in range(20):
        assert is_sent(legacy_token(name(), name(), name(), **{first: 1}))


def test_legacy_token_behind_white_space_is_sent() -> None:
    spaces = [chr(number) for number in range(0x3001) if chr(number).isspace() and not 0x1C <= number <= 0x1F]
    assert len(spaces) == 25, "what Go's unicode.IsSpace says of all characters"
    for space in (*spaces, "\r\n", "\t\t"):
        assert is_sent(space + legacy_token()), hex(ord(space[0]))


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n"], ids=repr)
@pytest.mark.covers("threat-model: token brought back")
def test_legacy_token_with_line_breaks_in_its_payload_is_sent(line_break) -> None:
    header, payload, signature = legacy_token("demo", "app", "t").split(".")
    for position in range(len(payload) + 1):
        text = ".".join((header, payload[:position] + line_break + payload[position:], signature))
        assert is_sent(text), position
        assert read_legacy_token(text.encode()).account == "app"
    every = ".".join((header, line_break.join(payload), signature))
    assert is_sent(every)
    assert read_legacy_token(every.encode()).secret == "t"


@pytest.mark.parametrize("before", ["", " ", "\n"], ids=repr)
def test_legacy_token_in_json_form_is_sent_and_read(before) -> None:
    header, payload, signature = legacy_token("demo", "app", "t").split(".")
    form = {"a": f".{payload}.", "payload": payload, "protected": header, "signature": signature}
    text = before + json.dumps(form)
    assert is_sent(text)
    assert read_legacy_token(text.encode()).account == "app"


def test_text_too_long_to_search_is_sent_if_it_may_be_a_token() -> None:
    assert is_sent("\n" * 60_000)
    assert is_sent("e" * 60_000)
    assert not is_sent("e" * 40_000)
    assert not is_sent("h" * 60_000)


def test_other_texts_are_not_sent() -> None:
    bound = jwt({"aud": ["https://kubernetes.default.svc"], "exp": 1, "iss": "https://kubernetes.default.svc"})
    for text in ("", "hunter2", bound, f"{bound}\n", f"{bound}\r\n", jwt({"iss": "https://accounts.example.com"}),
                 "07401b.f395accd246ae52d", ISSUER, "two\nlines", "a.b\nc.d\n",
                 f'{{"iss":"{ISSUER}"}}', bytes(range(256)) * 4):  # fmt: skip
        assert not is_sent(text), text


def test_no_byte_is_taken_for_a_dot_or_a_line_break() -> None:
    for number in range(256):
        byte = bytes([number])
        for offset in range(3):
            pad = b"e" * (3 + offset)
            broken = pad + b".abcde" + byte + b"abcdef."
            dotted = pad + byte + b"abcde\nabcde."
            assert is_sent(broken) is (byte in b"\r\n"), (byte, offset)
            assert is_sent(dotted) is (byte == b"."), (byte, offset)
