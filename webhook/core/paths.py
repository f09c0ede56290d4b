"""Paths inside a container."""

import posixpath


def clean_path(path: str | None) -> str:
    """Return a container's path as the kernel sees it: `/t` and `/t/` are one place."""
    if path and path[0] == "/" and path[-1] != "/" and "//" not in path and "/." not in path:
        return path
    return "/" + posixpath.normpath(path or "/").lstrip("/")
