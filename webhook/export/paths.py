"""Regular expressions (RE2) for every spelling of a path: what `webhook.core.paths` compares after cleaning it.

A path with `..` is not recognized, because no regular expression can resolve it; the API server accepts none in a
hostPath.
"""

from webhook.export.cel import escaped

_DOTS = r"(?:\.?/)*"
_SEPARATOR, _END = rf"/{_DOTS}", r"(?:/\.?)*"
_WINDOWS_DOTS = r"(?:[.]?[\\/])*"
_WINDOWS_SEPARATOR = rf"[. ]*[\\/]{_WINDOWS_DOTS}"
_WINDOWS_END = r"(?:[\\/][.]?)*"
_STREAM = r"(?::[^\\/]*)?"
_DEVICE = r"(?:[\\/]{2}[?.][\\/]|[\\/]\?\?[\\/])"
_DRIVE = rf"{_DEVICE}?(?:[A-Za-z]:)?"
_VOLUME = (
    rf"(?:{_DEVICE}(?:GLOBALROOT[\\/]Device[\\/][^\\/]*|Volume\{{[^\\/]*)"
    rf"|(?:{_DEVICE}UNC[\\/]|[\\/]{{2}})[^\\/]+[\\/][A-Za-z]\$)?"
)
_NODE_DOTS = rf"(?:[.]?{_STREAM}[\\/])*"
_NODE_SEPARATOR, _NODE_END = rf"[\\/]{_NODE_DOTS}", rf"(?:[\\/][.]?{_STREAM})*"
_NODE = rf"{_VOLUME}{_DRIVE}{_DEVICE}?{_NODE_DOTS}"
"""What may precede the first folder of a node's path on Windows."""
_NAME = r"(?:[^/.][^/]*|\.[^/]+)"
_WINDOWS_NAME = r"(?:[^\\/.][^\\/]*|\.[^\\/]+)"
WINDOWS_STYLE = rf"{_DEVICE}?[A-Za-z]:.*|.*\\.*"
"""Matches what `clean_path` reads as a path of Windows in any pod."""


def mount_path(path: str) -> str:
    """Return what matches the spellings of a cleaned path on Linux."""
    return _DOTS + _SEPARATOR.join(map(escaped, _parts(path))) + _END


def windows_mount_path(path: str) -> str:
    """Return what matches the spellings of a cleaned path on drive C: of Windows."""
    folders = _WINDOWS_SEPARATOR.join(map(escaped, _parts(path)))
    return rf"(?i:{_DEVICE}?(?:c:)?{_WINDOWS_DOTS}{folders}[. ]*{_WINDOWS_END})"


def node_folder(folder: str) -> tuple[str, str]:
    """Return what matches a node's folder, those above it and what is below it: on Linux, and on Windows."""
    linux, windows = "(?:/.*)?", r"(?:[\\/].*)?"
    separator = windows_separator = ""
    for part in reversed(_parts(folder)):
        linux = f"(?:{escaped(part)}{separator and f'(?:{separator}'}{linux}{separator and ')?'})"
        name = rf"{escaped(part)}[. ]*{_STREAM}"
        windows = f"(?:{name}{windows_separator and f'(?:{windows_separator}'}{windows}{windows_separator and ')?'})"
        separator, windows_separator = _SEPARATOR, _NODE_SEPARATOR
    return rf"(?i:{_DOTS}(?:{linux}?{_END}|\.))", rf"(?i:{_NODE}(?:{windows}?{_NODE_END}|[.]?{_STREAM}))"


def process_links() -> tuple[str, str]:
    """Return what matches a link from a process's folder to the rest of the node: on Linux, and on Windows."""
    return (
        _process_link(_DOTS, _SEPARATOR, _NAME, r"(?:/.*)?"),
        _process_link(_NODE, rf"[. ]*{_STREAM}{_NODE_SEPARATOR}", _WINDOWS_NAME, rf"[. ]*{_STREAM}(?:[\\/].*)?"),
    )


def _process_link(start: str, separator: str, name: str, end: str) -> str:
    task = rf"(?:{separator}task{separator}{name})?"
    return rf"(?i:{start}proc{separator}{name}{task}{separator}(?:root|cwd){end})"


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
