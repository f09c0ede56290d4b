"""Paths inside a container or of a node, in one spelling each, to be compared."""

import posixpath
import re

_DEVICE = r"(?:[\\/]{2}[?.][\\/]|[\\/]\?\?[\\/])"
_DRIVE = re.compile(rf"{_DEVICE}?(?:([A-Za-z]):)?")
"""A Windows drive, with or without the prefix of a device path (`\\\\?\\C:`, `\\??\\C:`)."""
_VOLUME = re.compile(
    rf"\A(?:{_DEVICE}(?:GLOBALROOT[\\/]Device[\\/][^\\/]*|Volume\{{[^\\/]*)|"
    rf"(?:{_DEVICE}UNC[\\/]|[\\/]{{2}})[^\\/]+[\\/][A-Za-z]\$(?=[\\/]|\Z))",
    re.IGNORECASE,
)
"""Other names of a Windows drive: its device, its volume, its administrative share (`\\\\localhost\\C$`)."""
_STREAM = re.compile(r":[^\\/]*")
"""A stream of a file or folder in NTFS, such as `::$INDEX_ALLOCATION`."""


def clean_path(path: str | None, *, windows: bool = False) -> str:
    """Return the one spelling of an absolute path: `/t`, `/t/` and `//t/./` are all `/t`.

    A path in Windows style, or any path with `windows`, is returned as `c:/t`: in lower case, with `/` as separator,
    with drive C: if it names none, and without the trailing dots and spaces that Windows drops.
    """
    if windows or (path and _is_windows_style(path)):
        return _clean_windows_path(path or "")
    if path and path[0] == "/" and path[-1] != "/" and "//" not in path and "/." not in path:
        return path
    return _normalized(path or "")


def without_drive(path: str) -> str:
    """Return a path that `clean_path` returned without its Windows drive."""
    return path if path.startswith("/") else path[2:]


def node_paths(path: str) -> frozenset[str]:
    """Return a node's path as Linux and as Windows read it, in one spelling each: without a drive, in lower case.

    A pod need not say which system its node runs, and to Linux a backslash is a letter.
    """
    named = _DRIVE.sub("", _VOLUME.sub("", path), count=1)
    windows = _clean_windows_path(_STREAM.sub("", named))
    return frozenset((_normalized(path).lower(), without_drive(windows)))


def _is_windows_style(path: str) -> bool:
    return "\\" in path or (":" in path and _drive_of(path) is not None)


def _drive_of(path: str) -> str | None:
    match = _DRIVE.match(path)
    return match[1] if match else None


def _clean_windows_path(path: str) -> str:
    drive = _drive_of(path) or "c"
    cleaned = _normalized(_DRIVE.sub("", path, count=1).replace("\\", "/"))
    if ". " in cleaned or "./" in cleaned or " /" in cleaned or cleaned[-1] in ". ":
        cleaned = "/".join(part.rstrip(". ") or part for part in cleaned.split("/"))
    return f"{drive}:{cleaned}".lower()


def _normalized(path: str) -> str:
    return "/" + posixpath.normpath("/" + path).lstrip("/")
