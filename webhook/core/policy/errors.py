"""The errors in a policy document."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from webhook.core.documents.document import Path, pointer_of
from webhook.core.formatting import did_you_mean, quote

MAX_BYTES = 64 << 10
"""About how much text of errors is stored; further ones are only counted."""
_MAX_KEY_LENGTH = 100


@dataclass(frozen=True, slots=True)
class PolicyError:
    """Something invalid in a policy: where (`line` and `column` from 1; 0 if unknown), and what is wrong."""

    path: str
    line: int
    message: str
    column: int = 0

    def __str__(self) -> str:
        line = f"line {self.line}: " if self.line else ""
        return f"{line}{self.path}: {self.message}" if self.path else f"{line}{self.message}"


@dataclass
class ErrorCollector:
    """Collects the errors in a document.

    `place_of` returns the line and the column (0: unknown) of what a JSON Pointer names, or of its nearest existing
    parent. `misplaced` returns where a key belongs that is unknown at a path; empty if nowhere.
    """

    place_of: Callable[[str], tuple[int, int]]
    misplaced: Callable[[str, Path], str] = lambda _, __: ""
    _errors: list[PolicyError] = field(default_factory=list, init=False)
    _bytes: int = field(default=0, init=False)
    _omitted: int = field(default=0, init=False)

    def add(self, path: Path, message: str, *, key: str | None = None, place: tuple[int, int] | None = None) -> None:
        """Add an error about the value at a path, or a key of that value; `place` is line and column if known."""
        if self._bytes >= MAX_BYTES:
            self._omitted += 1
            return
        if place is None:
            pointer = pointer_of(path if key is None else (*path, key))
            place = self.place_of(pointer)
        line, column = place
        error = PolicyError(_display(path), line, message, column)
        self._bytes += len(str(error).encode())
        self._errors.append(error)

    @property
    def count(self) -> int:
        """How many errors there are."""
        return len(self._errors) + self._omitted

    def suggest(self, wrong: str, known: Iterable[str]) -> str:
        """Return a 'did you mean' for a word, unless nobody will see it: looking is slow."""
        return "" if self._bytes >= MAX_BYTES else did_you_mean(wrong, known)

    def sorted(self) -> tuple[PolicyError, ...]:
        """Return the errors in the order of their lines; if there are too many, the last one is how many more."""
        errors = sorted(self._errors, key=lambda error: error.line)
        if self._omitted:
            errors.append(PolicyError("", errors[-1].line, f"and {self._omitted} more errors"))
        return tuple(errors)


def _display(path: Path) -> str:
    """Return a path as a user writes it, `inject[0].name`; a key that could forge a line is quoted and cut."""
    parts = (f"[{part}]" if str(part).isdecimal() else f".{_key(str(part))}" for part in path)
    return "".join(parts).removeprefix(".")


def _key(key: str) -> str:
    return key if len(key) <= _MAX_KEY_LENGTH and key.isprintable() and " " not in key else quote(key)
