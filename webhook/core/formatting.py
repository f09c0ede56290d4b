"""Text for people: what others wrote, quoted, and "did you mean"."""

import difflib
from collections.abc import Collection, Iterable
from enum import StrEnum
from itertools import islice

from webhook.core.bounded_cache import BoundedCache

MAX_QUOTED = 100
_MAX_KNOWN = 100
_MAX_LETTERS = 2000


class FastStrEnum(StrEnum):
    """A StrEnum with the hash of its text, which C computes: every decision looks some up."""

    __hash__ = str.__hash__


def quote(value: str) -> str:
    """Return `value` in double quotes, fit for one line of a log, a message or a header.

    Characters that aren't printable are escaped, so that a name can't forge a line; a value of more than 100
    characters is cut.
    """
    if len(value) <= MAX_QUOTED and value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    shown = value if len(value) <= MAX_QUOTED else value[: MAX_QUOTED - 1] + "…"
    return '"' + plain(shown.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def plain(text: str) -> str:
    """Return text fit for one line of a terminal: characters that aren't printable are escaped."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return `; did you mean "…"?` for the known word nearest to `wrong`, or nothing if none is near.

    The search is slow and its input comes from others: so the number and length of the words are limited, and the last
    results are cached.
    """
    if len(wrong) > MAX_QUOTED:
        return ""
    words: list[str] = []
    room = _MAX_LETTERS
    for word in islice(known, _MAX_KNOWN):
        if len(word) <= room:
            words.append(word)
            room -= len(word)
    key = wrong, tuple(words)
    hint = _hints.get(key)
    if hint is None:
        hint = _nearest(*key)
        _hints.put(key, hint)
    return hint


HINTS_BYTES = 4 << 20
_hints: BoundedCache[tuple[str, tuple[str, ...]], str] = BoundedCache(HINTS_BYTES)


def _nearest(wrong: str, known: tuple[str, ...]) -> str:
    same = [word for word in known if word.lower() == wrong.lower()]
    close = same or difflib.get_close_matches(wrong, known, n=1, cutoff=0.7)
    return f"; did you mean {quote(close[0])}?" if close else ""


def failure_text(error: OSError) -> str:
    """Return why an operation of the system failed, in its own words: `no such file or directory`."""
    return (error.strerror or str(error) or "unknown reason").lower()


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 pod`, `2 pods`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listing(words: Collection[str]) -> str:
    """Return the words quoted and with commas, or `none`; at most ten and how many more."""
    more = f" and {len(words) - 10} more" if len(words) > 10 else ""
    return ", ".join(map(quote, islice(words, 10))) + more if words else "none"
