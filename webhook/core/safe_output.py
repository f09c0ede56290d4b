"""Makes output safe to show: names in it can't forge a line, command a terminal or start a workflow command in CI.

Applied where text leaves the program. Escaped is every character that Python doesn't count as printable: control
characters (C0, C1), line and paragraph separators, bidirectional and other format characters.
"""

import re

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


def safe_json(text: str) -> str:
    """Return the same JSON with all such characters in its strings escaped by their code. Line ends stay."""
    if not text.isascii() or "\x7f" in text:
        text = _UNPRINTABLE_PART.sub(lambda found: "".join(map(_json_char, found[0])), text)
    return text.replace("##", "#\\u0023") if "##" in text else text


def safe_json_line(data: bytes) -> bytes:
    """Return a line of JSON in UTF-8 as `safe_json` does."""
    if data.isascii() and b"\x7f" not in data:
        return data
    return safe_json(data.decode()).encode()


def _safe_line(line: str) -> str:
    if not line.isprintable():
        line = "".join(part if _STYLE.fullmatch(part) else _plain(part) for part in _STYLE.split(line))
    if line.lstrip().startswith("::"):
        line = line.replace("::", "\\x3a:", 1)
    return line.replace("##[", "#\\x23[").replace("##vso[", "#\\x23vso[")


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _json_char(char: str) -> str:
    if char.isprintable() or char in "\n\r\t":  # between values: within a string JSON has them escaped already
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
