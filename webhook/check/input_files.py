"""Finds the files that a command names, and reads them."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote_from_bytes

STDIN = "-"
SUFFIXES = (".yaml", ".yml", ".json")
MAX_BYTES = 64 * 2**20
_DEPENDENCIES = "node_modules"


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read, or `-`; `named` is false if the caller named `root`, a folder that contains it."""

    path: str
    named: bool = True
    root: str = ""


@dataclass(frozen=True, slots=True)
class InputProblem:
    """What could not be read, and why; `line` and `document` count from one, None for a whole file.

    `template` marks an unrendered template.
    """

    path: str
    message: str
    line: int | None = None
    document: int | None = None
    template: bool = False

    @property
    def file(self) -> str:
        """The path as text."""
        return displayed(self.path)


def displayed(path: str) -> str:
    """Return a path as text, with bytes that are not UTF-8 escaped."""
    return "<stdin>" if path == STDIN else os.fsencode(path).decode(errors="backslashreplace")


def uri(path: str) -> str:
    """Return a path as a URI reference: relative if it is in the working directory, else `file:`."""
    if path == STDIN:
        return quote_from_bytes(b"<stdin>")
    full = Path(os.path.normpath(Path.cwd() / path))
    if not full.is_relative_to(Path.cwd()):
        return "file://" + _encoded(full)
    encoded = _encoded(full.relative_to(Path.cwd()))
    return f"./{encoded}" if ":" in encoded.split("/")[0] else encoded


def _encoded(path: Path) -> str:
    return quote_from_bytes(os.fsencode(path.as_posix()), safe="/")


def find(paths: Iterable[str], exclude: Iterable[str] = ()) -> Iterator[InputFile | InputProblem]:
    """Yield the files that the paths name, each once, and the folders that contain none or cannot be listed.

    Folders are searched for `*.yaml`, `*.yml` and `*.json`, sorted; hidden files and folders, `node_modules` and linked
    folders are left out. `exclude` globs mean what they mean in a `.gitignore` (without `!`): without a slash they
    match a name at any depth, with a slash the path from the given folder; `*` and `?` match no slash, `**` matches any
    number of folders, a slash at the end matches folders only, `./` at the start is the given folder.
    """
    known: set[str] = set()
    excluded = [_Excluded(glob) for glob in exclude]
    for path in paths:
        for found in _found(path, excluded):
            place = found.path if found.path == STDIN else str(Path.cwd() / found.path)
            if place not in known:
                known.add(place)
                yield found


class _Excluded:
    """A glob of files and folders to leave out."""

    def __init__(self, glob: str) -> None:
        if glob.startswith("./"):
            glob = glob[1:]
        self._folders_only = glob.endswith("/")
        segments = tuple(glob.strip("/").split("/"))
        self._segments = segments if "/" in glob.rstrip("/") else ("**", *segments)

    def matches(self, path: tuple[str, ...], *, folder: bool) -> bool:
        """Return whether it matches a path, given as its parts below the searched folder."""
        return (folder or not self._folders_only) and _segments_match(self._segments, path)


def _segments_match(glob: tuple[str, ...], path: tuple[str, ...]) -> bool:
    if not glob or not path:
        return not glob and not path
    if glob[0] == "**":
        return len(glob) == 1 or any(_segments_match(glob[1:], path[start:]) for start in range(len(path)))
    return fnmatchcase(path[0], glob[0]) and _segments_match(glob[1:], path[1:])


def _found(path: str, excluded: list[_Excluded]) -> Iterator[InputFile | InputProblem]:
    try:
        is_folder = path != STDIN and Path(path).is_dir()
    except OSError:
        is_folder = False  # reading it reports the error
    if is_folder:
        yield from _in_folder(path, excluded)
    else:
        yield InputFile(path, root=path)


def _in_folder(path: str, excluded: list[_Excluded]) -> Iterator[InputFile | InputProblem]:
    unread: list[InputProblem] = []
    empty = True

    def note(error: OSError) -> None:
        unread.append(InputProblem(str(error.filename), _reason(error)))

    for folder, folders, files in os.walk(path, onerror=note):
        within = Path(folder).relative_to(path).parts

        def is_wanted(name: str, *, folder: bool, within: tuple[str, ...] = within) -> bool:
            matched = any(glob.matches((*within, name), folder=folder) for glob in excluded)
            return not (matched or name.startswith("."))

        folders[:] = sorted(name for name in folders if name != _DEPENDENCIES and is_wanted(name, folder=True))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and is_wanted(name, folder=False):
                yield InputFile(str(Path(folder, name)), named=False, root=path)
                empty = False
    if empty and not unread:
        left = " that --exclude does not match" if excluded else ""
        yield InputProblem(path, f"contains no *{', *'.join(SUFFIXES[:-1])} or *{SUFFIXES[-1]} file{left}")
    yield from unread


def read(source: InputFile, stdin: BinaryIO) -> bytes | InputProblem:
    """Return the content of a file, or why it cannot be read. A pipe is read only if the caller named it."""
    try:
        if source.path == STDIN:
            data = stdin.read(MAX_BYTES + 1)
        else:
            if not source.named and not stat.S_ISREG(Path(source.path).stat().st_mode):
                return InputProblem(source.path, "is not a regular file")
            with Path(source.path).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return InputProblem(source.path, _reason(error))
    if len(data) > MAX_BYTES:
        return InputProblem(source.path, f"is larger than {MAX_BYTES // 2**20} MiB")
    return data


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
