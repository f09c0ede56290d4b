"""Copy what the image needs, and nothing else, from the root of the base image to an empty folder.

python3 image_root.py TARGET: Python with its standard library, /opt/tokenguard, the shared libraries that they link
to, the certificates of public CAs, and the entry and the licence of each Debian package of which a file is copied. The
image has no shell and no package manager. Scanners read `/var/lib/dpkg/status.d`, as in distroless images.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

APPLICATION = Path("/opt/tokenguard")
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
UNUSED = {
    "EXTERNALLY-MANAGED", "_pyrepl", "curses", "dbm", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data",
    "site-packages", "sqlite3", "test", "tests", "tkinter", "turtle.py", "turtledemo", "unittest", "venv",
}  # fmt: skip
"""Of the standard library: what nothing here imports."""
_UNUSED_FILE = re.compile(
    r"(_test|_?xx|_ctypes_test|_tkinter|_curses|_dbm|_gdbm|_sqlite3|readline).*\.so|config-.*|libpython.*\.a|.*\.pyc"
)
SETTINGS = (
    "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/os-release", "/etc/debian_version", "/etc/ld.so.conf",
    "/etc/ld.so.conf.d", "/etc/ssl/certs", "/usr/lib/ssl", "/usr/share/ca-certificates",
)  # fmt: skip
"""Users, the version of Debian, the folders of libraries, the certificates of public CAs: what the base has of it."""
_LIBRARIES = re.compile(r"(?:=> )?(/\S+) \(0x")
_DPKG = Path("/var/lib/dpkg")


class Root:
    """The folder that becomes the image's root."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.files: set[Path] = set()

    def add(self, path: Path) -> None:
        """Copy a file or link, and what it leads to; a folder with all that is below it."""
        path = path.parent.resolve() / path.name
        if path in self.files or not os.path.lexists(path) or _is_unused(path):
            return
        copy = self._target / path.relative_to("/")
        if path.is_symlink():
            self.files.add(path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(path.readlink())
            self.add(path.parent / path.readlink())
        elif path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
            for child in path.iterdir():
                self.add(child)
        else:
            linked = _linked(path)
            if "not found" in linked:
                if path.is_relative_to(STANDARD_LIBRARY.resolve()):
                    return  # a module that cannot be imported in the base, either
                raise SystemExit(f"{path} links to a library that the base does not have:\n{linked}")
            self.files.add(path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
            for library in _LIBRARIES.findall(linked):
                self.add(Path(library))


def _is_unused(path: Path) -> bool:
    inside = STANDARD_LIBRARY.resolve()
    if not path.is_relative_to(inside):
        return False
    parts = path.relative_to(inside).parts
    return bool(UNUSED.intersection(parts) or any(map(_UNUSED_FILE.fullmatch, parts)))


def _linked(path: Path) -> str:
    """Return what ldd says about a file: the shared libraries that it links to, and the loader that starts it."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return ""
    return subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout


def _owners(files: set[Path]) -> set[str]:
    """Return the Debian packages that have one of the files."""
    owners = set()
    for listed in (_DPKG / "info").glob("*.list"):
        for line in listed.read_text().splitlines():
            path = Path(line)
            if path.name and path.parent.resolve() / path.name in files:
                owners.add(listed.stem.partition(":")[0])
                break
    return owners


def add_packages(root: Root, target: Path) -> None:
    """Write the entry of each Debian package that has a file in the image, and copy its licence."""
    owners = _owners(root.files)
    entries = target / "var/lib/dpkg/status.d"
    entries.mkdir(parents=True)
    for entry in (_DPKG / "status").read_text().split("\n\n"):
        name = re.match(r"Package: (\S+)", entry)
        if name and name[1] in owners:
            (entries / name[1]).write_text(f"{entry.strip()}\n")
            _add_licence(root, target, Path("/usr/share/doc") / name[1])


def _add_licence(root: Root, target: Path, documentation: Path) -> None:
    root.add(documentation / "copyright")
    if documentation.is_symlink():  # to that of another package
        copy = target / documentation.relative_to("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(documentation.readlink())


def main() -> None:
    """Copy everything to the folder that the caller names."""
    target = Path(sys.argv[1])
    root = Root(target)
    for name in ("bin", "lib", "lib64", "sbin"):  # links to the folders below /usr
        if (Path("/") / name).is_symlink():
            (target / "usr" / name).mkdir(parents=True)
            (target / name).symlink_to(f"usr/{name}")
    for path in (STANDARD_LIBRARY, Path(sys.executable), APPLICATION, *map(Path, SETTINGS)):
        root.add(path)
    for library in Path("/usr/lib").glob("*/libgcc_s.so.1"):  # which glibc loads when a thread ends
        root.add(library)
    add_packages(root, target)
    subprocess.run(["ldconfig", "-X", "-r", target], check=True)
    for leftover in ("var/cache", "etc/ld.so.cache~"):
        shutil.rmtree(target / leftover, ignore_errors=True)
    for folder in ("tmp", "var/tmp"):
        (target / folder).mkdir(parents=True)
        (target / folder).chmod(0o1777)
    for folder in ("dev", "proc", "run", "sys"):
        (target / folder).mkdir()


if __name__ == "__main__":
    main()
