"""Makes output safe: names in it can't forge a line, control a terminal or start a workflow command in CI.

The command line applies `safe_stream` to its standard streams, so that no command can forget it; JSON is escaped by
`safe_json` instead and written as bytes. Every character is escaped that Python doesn't count as printable:
control characters (C0, C1), line and paragraph separators, bidirectional and other format characters.
"""

import re
from collections.abc import Iterable
from typing import Any, TextIO, cast

from webhook.core.formatting import plain

_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")
_UNPRINTABLE_PART = re.compile(r"[^ -~]+")


def safe_text(text: str) -> str:
    """Return text of one or more lines for a terminal or a CI log. Line ends and colours stay.

    GitHub Actions takes a line that begins with `::`, after white space, for a command (actions/runner,
    ActionCommand.cs), and `##[` and Azure Pipelines' `##vso[` anywhere in a line.
    """
    if text.isascii() and text.isprintable() and "::" not in text and "##" not in text:
        return text
    return "\n".join(map(_safe_line, text.split("\n")))


def safe_stream(stream: TextIO) -> TextIO:
    """Return a stream that writes to another one what `safe_text` returns; bytes for its `buffer` stay as they are."""
    return cast("TextIO", _SafeStream(stream))


def raw_stream(stream: TextIO) -> TextIO:
    """Return the stream behind a safe one, for a terminal's control characters; any other stream as it is."""
    return stream.raw if isinstance(stream, _SafeStream) else stream


def safe_json(text: str) -> str:
    """Return the same JSON with all such characters in its strings escaped by their code. Line ends stay."""
    if not text.isascii() or "\x7f" in text:
        text = _UNPRINTABLE_PART.sub(lambda match: "".join(map(_json_char, match[0])), text)
    return text.replace("##", "#\\u0023") if "##" in text else text


def safe_json_line(data: bytes) -> bytes:
    """Return a line of JSON in UTF-8 as `safe_json` does."""
    if data.isascii() and b"\x7f" not in data:
        return data
    return safe_json(data.decode()).encode()


class _SafeStream:
    """Writes safe text to another stream, and is that stream in everything else."""

    def __init__(self, stream: TextIO) -> None:
        self.raw = stream

    def write(self, text: str) -> int:
        """Write text, a whole line or several at a time."""
        self.raw.write(safe_text(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts one after the other."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def _safe_line(line: str) -> str:
    if not line.isprintable():
        line = "".join(part if _STYLE.fullmatch(part) else plain(part) for part in _STYLE.split(line))
    if line.lstrip().startswith("::"):
        line = line.replace("::", "\\x3a:", 1)
    return line.replace("##[", "#\\x23[").replace("##vso[", "#\\x23vso[")


def _json_char(char: str) -> str:
    if char.isprintable() or char in "\n\r\t":  # between values: within a string JSON has them escaped already
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
