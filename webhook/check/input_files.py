"""Finds the files that a command names, and reads them."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote_from_bytes

from webhook.check.ignore_rules import IGNORE_FILE, IgnoreRules, is_excluded
from webhook.check.source_map import Excerpt
from webhook.core.documents.stream import decode_text
from webhook.core.formatting import failure_text, quote

STDIN = "-"
SUFFIXES = (".yaml", ".yml", ".json")
MAX_BYTES = 64 * 2**20
_DEPENDENCIES = "node_modules"
_REPOSITORY = ".git"
"""A hidden folder that has no manifests."""
EXCLUDED = "excluded files and folders"
HIDDEN = "hidden files and folders"
DEPENDENCIES = "node_modules folders"
LINKS = "symbolic links to folders"
"""Reasons why a file or folder is skipped."""
NOT_SEARCHED: Mapping[str, str] = {
    HIDDEN: "is hidden", DEPENDENCIES: "contains dependencies", LINKS: "is a symbolic link to a folder",
}  # fmt: skip
"""The reasons that do not apply to a path that the caller names, as a message has them."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read, or `-`; `named` is false if the caller named `root`, a folder that contains it.

    `is_stdin`: `path` is the name that the caller gave to standard input.
    """

    path: str
    named: bool = True
    root: str = ""
    is_stdin: bool = False


@dataclass(frozen=True, slots=True)
class InputProblem:
    """What could not be read, and why; `line`, `column` and `document` count from one, None: unknown.

    `excerpt` is the place in the file, if it is shown, and `title` names the object, if it is about one.
    """

    path: str
    message: str
    line: int | None = None
    document: int | None = None
    column: int | None = None
    excerpt: Excerpt | None = None
    title: str = ""

    @property
    def file(self) -> str:
        """The path as text."""
        return displayed(self.path)


@dataclass(frozen=True, slots=True)
class SkippedPath:
    """A file or folder that is not read, and the reason; `given` if the caller named this folder."""

    path: str
    reason: str = EXCLUDED
    given: bool = False

    @property
    def problem(self) -> InputProblem:
        """The message about it."""
        cause = NOT_SEARCHED.get(self.reason)
        skipped = f"{cause}, so it is skipped; to evaluate it, name it on the command line"
        return InputProblem(self.path, skipped if cause else "is excluded")


def displayed(path: str) -> str:
    """Return a path as text, with bytes that are not UTF-8 escaped."""
    return "<stdin>" if path == STDIN else os.fsencode(path).decode(errors="backslashreplace")


def uri(path: str) -> str:
    """Return a path as a URI reference: relative if it is in the working directory, else `file:`."""
    if path == STDIN:
        return "stdin"
    full = Path(os.path.normpath(Path.cwd() / path))
    if not full.is_relative_to(Path.cwd()):
        return "file://" + _encoded(full)
    encoded = _encoded(full.relative_to(Path.cwd()))
    return f"./{encoded}" if ":" in encoded.split("/")[0] else encoded


def _encoded(path: Path) -> str:
    return quote_from_bytes(os.fsencode(path.as_posix()), safe="/")


def find(
    paths: Iterable[str],
    exclude: Iterable[str] = (),
    stdin_name: str = STDIN,
    *,
    excludes_named: bool = False,
    warn: Callable[[InputProblem], None] = lambda _: None,
) -> Iterator[InputFile | InputProblem | SkippedPath]:
    """Yield the files that the paths name, each once, and the folders that contain none or cannot be listed.

    Two links to the same file are that file.
    Folders are searched for `*.yaml`, `*.yml` and `*.json`, sorted; hidden files and folders, `node_modules` and linked
    folders are skipped, and so is what `exclude` (below each given folder, or the working directory) and files
    `.tokenguardignore` exclude: each is a `SkippedPath`, except for `.git` and for what `paths` name. For the syntax,
    see `webhook.check.ignore_rules`. With `excludes_named`, globs exclude the paths themselves, too. Standard input is
    called `stdin_name`. `warn` gets the globs that exclude nothing, and a name of standard input that is not read.
    """
    known: set[tuple[object, str]] = set()
    globs = tuple(exclude)
    unused = dict.fromkeys(globs)
    given = list(paths)
    known |= {(reason, str(Path.cwd() / path)) for path in given for reason in NOT_SEARCHED}
    for path in given:
        if excludes_named and path != STDIN and is_excluded(path, globs):
            yield SkippedPath(path)
            continue
        for file in _files_of(path, globs, unused):
            is_file = isinstance(file, InputFile)
            place = str(Path.cwd() / file.path)
            kind = file.reason if isinstance(file, SkippedPath) else type(file)
            key = kind, file.path if file.path == STDIN else os.path.realpath(place) if is_file else place
            if key not in known:
                known.add(key)
                yield InputFile(stdin_name, root=stdin_name, is_stdin=True) if file.path == STDIN else file
    if stdin_name != STDIN and STDIN not in given:
        warn(InputProblem(stdin_name, "--stdin-filename has no effect without - for standard input"))
    for glob in () if excludes_named else unused:
        effect = "includes nothing again" if glob.startswith("!") else "excludes nothing"
        warn(InputProblem(given[0], f"--exclude {quote(glob)} {effect}"))


def _files_of(
    path: str, exclude: tuple[str, ...], unused: dict[str, None]
) -> Iterator[InputFile | InputProblem | SkippedPath]:
    try:
        is_folder = path != STDIN and Path(path).is_dir()
    except OSError:
        is_folder = False  # reading it reports the error
    if is_folder:
        yield from [SkippedPath(path, given=True)] if is_excluded(path) else _in_folder(path, exclude, unused)
    else:
        yield InputFile(path, root=path)


def _in_folder(
    path: str, exclude: tuple[str, ...], unused: dict[str, None]
) -> Iterator[InputFile | InputProblem | SkippedPath]:
    """Yield what is in a folder, and remove the globs that exclude something from `unused`."""
    unread: list[InputProblem] = []
    empty = True

    def note(error: OSError) -> None:
        unread.append(InputProblem(str(error.filename), failure_text(error)))

    rules = IgnoreRules(path, exclude, note)
    for folder, folders, files in os.walk(path, onerror=note):
        rules.enter(folder)
        searched: list[str] = []
        for name in sorted(folders):
            reason = _reason_to_skip(folder, name)
            if reason or rules.excludes(folder, name, is_folder=True):
                yield from [] if name == _REPOSITORY else [SkippedPath(str(Path(folder, name)), reason or EXCLUDED)]
            else:
                searched.append(name)
        folders[:] = searched
        for name in sorted(name for name in files if name.lower().endswith(SUFFIXES)):
            if name.startswith("."):
                yield SkippedPath(str(Path(folder, name)), HIDDEN)
            elif rules.excludes(folder, name, is_folder=False):
                yield SkippedPath(str(Path(folder, name)))
            else:
                yield InputFile(str(Path(folder, name)), named=False, root=path)
                empty = False
    for glob in rules.used_globs:
        unused.pop(glob, None)
    if empty and not unread:
        left = f" that neither --exclude nor {IGNORE_FILE} excludes" if rules.has_excluded else ""
        yield InputProblem(path, f"contains no *{', *'.join(SUFFIXES[:-1])} or *{SUFFIXES[-1]} file{left}")
    yield from unread


def _reason_to_skip(parent: str, name: str) -> str:
    """Return why a folder is skipped unless it is named; empty if it is searched."""
    if name.startswith("."):
        return HIDDEN
    if name == _DEPENDENCIES:
        return DEPENDENCIES
    return LINKS if Path(parent, name).is_symlink() else ""


def read(source: InputFile, stdin: BinaryIO) -> bytes | InputProblem:
    """Return the content of a file, or why it cannot be read. A pipe is read only if the caller named it."""
    try:
        if source.path == STDIN or source.is_stdin:
            data = stdin.read(MAX_BYTES + 1)
        else:
            if not source.named and not stat.S_ISREG(Path(source.path).stat().st_mode):
                return InputProblem(source.path, "is not a regular file")
            with Path(source.path).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return InputProblem(source.path, failure_text(error))
    if len(data) > MAX_BYTES:
        return InputProblem(source.path, f"is larger than {MAX_BYTES // 2**20} MiB")
    return data


def is_empty(data: bytes) -> bool:
    """Return whether a file contains only comments, directives and separators."""
    content = (line.partition("#")[0].strip() for line in decode_text(data).splitlines())
    return all(text in ("", "---", "...") or text.startswith("%") for text in content)
