"""Text from a cluster or from manifests in Markdown: nothing in it can become markup."""

import re
from collections.abc import Iterable

from webhook.core.formatting import plain

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")
_BACKTICKS = re.compile(r"`+")


def code(value: str) -> str:
    """Return a value as a code span, whatever it contains."""
    shown = plain(value)
    fence = "`" * (max(map(len, _BACKTICKS.findall(shown)), default=0) + 1)
    space = " " if not shown.strip("`") or shown[0] == "`" or shown[-1] == "`" else ""
    return f"{fence}{space}{shown}{space}{fence}"


def codes(values: Iterable[str]) -> str:
    """Return values as code spans with commas."""
    return ", ".join(map(code, values))


def escape(value: str) -> str:
    """Return a value as text without markup."""
    return _SPECIAL.sub(r"\\\1", plain(value))


def message(value: str) -> str:
    """Return a message as text; what `webhook.core.formatting.quote` has quoted becomes a code span."""
    parts = _QUOTED.split(value)
    return "".join(code(_unquoted(part)) if number % 2 else escape(part) for number, part in enumerate(parts))


def cell(value: str) -> str:
    """Return Markdown for a cell of a table: a bar would end it, even in a code span."""
    return re.sub(r"(?<!\\)\|", r"\|", value)


def _unquoted(part: str) -> str:
    return re.sub(r"\\(.)", r"\1", part)
