"""What is done with a fixed file: it is written, or its changes are shown."""

import stat
from collections.abc import Iterator
from pathlib import Path

from webhook.atomic_write import FileContent, replace_files
from webhook.check.fix import FixedFile
from webhook.check.input_files import InputProblem
from webhook.core.formatting import failure_text

_CONTEXT = 3
_MAX_DISTANCE = 400
_Change = tuple[int, int, int, int]


def write_file(file: FixedFile) -> InputProblem | None:
    """Replace a file, with the same mode and behind the same links; return why that is impossible."""
    path = Path(file.path).resolve()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.read_bytes() != file.before.encode():
            return InputProblem(file.path, "has changed meanwhile, so it is not fixed; run the command again")
        replace_files({path: FileContent((file.after.encode(),), mode)})
        path.chmod(mode)  # whatever the umask
    except OSError as error:
        return InputProblem(file.path, f"cannot be written: {failure_text(error)}")
    return None


def diff_lines(name: str, before: str, after: str) -> Iterator[str]:
    """Yield a unified diff, for `patch -p0` and `git apply -p0`.

    `difflib` takes minutes for thousands of changes in one file; these are small, so what follows each is soon found.
    """
    old, new = _split(before), _split(after)
    yield from (f"--- {name}\n", f"+++ {name}\n")
    for hunk in _hunks(list(_changes(old, new))):
        (start, _, new_start, _), (_, end, _, new_end) = hunk[0], hunk[-1]
        first, last = max(start - _CONTEXT, 0), min(end + _CONTEXT, len(old))
        new_first, new_last = new_start - (start - first), new_end + (last - end)
        yield f"@@ -{_range(first, last)} +{_range(new_first, new_last)} @@\n"
        at = first
        for start, end, new_start, new_end in hunk:
            yield from (_line(" ", line) for line in old[at:start])
            yield from (_line("-", line) for line in old[start:end])
            yield from (_line("+", line) for line in new[new_start:new_end])
            at = end
        yield from (_line(" ", line) for line in old[at:last])


def _changes(old: list[str], new: list[str]) -> Iterator[_Change]:
    """Yield the changes in their order: lines of `old` that are replaced, and the lines of `new` that replace them."""
    at = new_at = 0
    while at < len(old) or new_at < len(new):
        if old[at : at + 1] == new[new_at : new_at + 1]:
            at, new_at = at + 1, new_at + 1
            continue
        end, new_end = _next_match(old, new, at, new_at)
        yield at, end, new_at, new_end
        at, new_at = end, new_end


def _next_match(old: list[str], new: list[str], at: int, new_at: int) -> tuple[int, int]:
    """Return the nearest places where two lines of both match again, or the ends."""
    for distance in range(1, _MAX_DISTANCE):
        for skipped in range(distance + 1):
            end, new_end = at + skipped, new_at + distance - skipped
            if end <= len(old) and new_end <= len(new) and old[end : end + 2] == new[new_end : new_end + 2]:
                return end, new_end
    return len(old), len(new)


def _hunks(changes: list[_Change]) -> Iterator[list[_Change]]:
    """Yield the changes that share their context."""
    hunk: list[_Change] = []
    for change in changes:
        if hunk and change[0] - hunk[-1][1] > 2 * _CONTEXT:
            yield hunk
            hunk = []
        hunk.append(change)
    if hunk:
        yield hunk


def _range(first: int, last: int) -> str:
    """Return a range of lines as `diff` writes it."""
    return f"{first + 1 if last > first else first},{last - first}"


def _line(mark: str, line: str) -> str:
    return f"{mark}{line}" if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"


def _split(text: str) -> list[str]:
    """Return the lines as `diff` sees them: only a line feed ends one."""
    return [line for line in text.replace("\n", "\n\0").split("\0") if line]
