"""Which files and folders in the given folders are not checked: `--exclude` and `.tokenguardignore`.

A line means what it means in a `.gitignore`: without a slash it matches a name at any depth, with a slash the path from
the folder of the file; `*` and `?` match no slash, `**` matches any number of folders, a slash at the end matches
folders only, and after `!` it includes again what earlier lines exclude. The arguments of `--exclude` come after the
lines of all files.
"""

import os
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

IGNORE_FILE = ".tokenguardignore"


class _Rule:
    """One line; `base` are the parts of the absolute path that it is relative to."""

    def __init__(self, line: str, base: tuple[str, ...]) -> None:
        self.line = line
        self.base = base
        self.includes = line.startswith("!")
        line = line.removeprefix("!").removeprefix("\\")
        line = line[1:] if line.startswith("./") else line
        self._folders_only = line.endswith("/")
        parts = tuple(line.strip("/").split("/"))
        self._parts = parts if "/" in line.rstrip("/") else ("**", *parts)

    def matches(self, path: tuple[str, ...], *, is_folder: bool) -> bool:
        """Return whether it matches a path, given as the parts of its absolute path."""
        if path[: len(self.base)] != self.base or (self._folders_only and not is_folder):
            return False
        return _parts_match(self._parts, path[len(self.base) :])


def _parts_match(glob: tuple[str, ...], path: tuple[str, ...]) -> bool:
    if not glob or not path:
        return not glob and not path
    if glob[0] == "**":
        return len(glob) == 1 or any(_parts_match(glob[1:], path[start:]) for start in range(len(path)))
    return fnmatchcase(path[0], glob[0]) and _parts_match(glob[1:], path[1:])


def _absolute(path: str) -> Path:
    return Path(os.path.normpath(Path.cwd() / path))


class IgnoreRules:
    """The rules for one given folder: of the files in it, and in the folders above it up to the working directory.

    `used_globs` are the arguments that excluded something or, after `!`, included it again.
    """

    def __init__(self, root: str, exclude: Iterable[str], on_error: Callable[[OSError], None]) -> None:
        """Read the files above `root`; `exclude` are globs below it or below the working directory.

        `on_error` gets what cannot be read.
        """
        self.has_excluded = False
        self.used_globs: set[str] = set()
        self._on_error = on_error
        self._rules: list[_Rule] = []
        top = _absolute(root)
        cwd = Path.cwd()
        bases = dict.fromkeys((top.parts, cwd.parts))
        self._last = [_Rule(glob, base) for glob in exclude for base in bases]
        for folder in reversed(top.parents):
            if folder.is_relative_to(cwd):
                self.enter(str(folder))

    def enter(self, folder: str) -> None:
        """Read the file in a folder, if it has one."""
        path = _absolute(folder)
        try:
            lines = (path / IGNORE_FILE).read_bytes().decode(errors="surrogateescape").splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            self._on_error(error)
            return
        texts = (line.rstrip() for line in lines)
        self._rules += (_Rule(text, path.parts) for text in texts if text and not text.startswith("#"))

    def excludes(self, folder: str, name: str, *, is_folder: bool) -> bool:
        """Return whether a file or folder is excluded: the last line that matches it decides."""
        path = (_absolute(folder) / name).parts
        excluded = False
        for rule in self._rules + self._last:
            if rule.matches(path, is_folder=is_folder):
                if not rule.includes or excluded:
                    self.used_globs.add(rule.line)
                excluded = not rule.includes
        self.has_excluded |= excluded
        return excluded


def is_excluded(path: str, exclude: Iterable[str] = ()) -> bool:
    """Return whether a path below the working directory, or a folder that it is in, is excluded.

    `exclude` are globs below the working directory. A file with rules that cannot be read has none.
    """
    full, folder = _absolute(path), Path.cwd()
    if not full.is_relative_to(folder):
        return False
    rules = IgnoreRules(os.curdir, exclude, lambda _: None)
    for name in full.relative_to(folder).parts:
        rules.enter(str(folder))
        if rules.excludes(str(folder), name, is_folder=(folder / name).is_dir()):
            return True
        folder /= name
    return False
