"""What a case of a policy expects and what happens instead."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import yaml

from webhook.core.formatting import quote


class Difference(NamedTuple):
    """What a case expects of one of its keys, and what happens; `text` says so in one line or more."""

    key: str
    expected: Any
    got: Any
    text: str


def patch_differences(expected: dict[str, Any], got: dict[str, Any]) -> Iterator[Difference]:
    """Yield the difference between the expected and the actual patched object, if there is one."""
    if expected == got:
        return
    from difflib import unified_diff  # noqa: PLC0415 - rarely needed

    before, after = (str(yaml.safe_dump(value, width=10_000)).splitlines() for value in (expected, got))
    lines = list(unified_diff(before, after, lineterm="", n=2))[2:]
    missing, added = ([line[1:] for line in lines if line.startswith(mark)] for mark in "-+")
    text = "patched: expected (-), got (+)" + "".join(f"\n  {line}" for line in lines)
    yield Difference("patched", missing, added, text)


def missing_texts(key: str, expected: Iterable[str], texts: list[str], title: str) -> Iterator[Difference]:
    """Yield the expected parts that are in none of the texts; an empty list expects no text."""
    expected = tuple(expected)
    missing = [part for part in expected if not any(part in text for text in texts)]
    if missing or (texts and not expected):
        wanted = ", ".join(map(quote, missing)) or "nothing"
        text = f"{key}: expected {wanted}; {title}:" + ("".join(f"\n  {text}" for text in texts) or " nothing")
        yield Difference(key, missing, texts, text)
