"""Sets up the server's process: stdout, the limit of open files, a private folder."""

import contextlib
import ctypes
import fcntl
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from webhook.core.formatting import failure_text
from webhook.server.options import StartError

MAX_FILES = 65536
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 1 << 20
_PREFIX = "tokenguard-run-"


def require_stdout() -> None:
    """Raise `StartError` if stdout is closed, or open for reading only in its place."""
    try:
        writable = fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        writable = False
    if not writable:
        raise StartError("--audit-log -: stdout is closed")


def return_freed_memory() -> None:
    """Have glibc return each large block to the system as soon as it is freed, for the worker's lists of Secrets.

    By default it keeps blocks up to the size of the largest that was freed, at most 32 MiB (mallopt(3)).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def raise_file_limit() -> None:
    """Raise the limit of open files as far as allowed, at most to `MAX_FILES`: every connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Create a folder that only this user can read, in memory if possible, and remove it at the end.

    It is locked as long as the server or its worker lives. Unlocked folders, of servers that were killed, are removed
    first. Raises `StartError` if no folder can be created.
    """
    in_memory = "/dev/shm"  # noqa: S108 - mkdtemp makes a folder of a new name in it, for this user alone
    try:
        where = in_memory if "TMPDIR" not in os.environ and os.access(in_memory, os.W_OK) else tempfile.gettempdir()
        _sweep(Path(where))
        made = Path(tempfile.mkdtemp(prefix=".tokenguard-", dir=where))
        lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = made.rename(made.with_name(_PREFIX + made.name.removeprefix(".tokenguard-")))  # locked by then
    except OSError as error:
        message = f"no writable folder for temporary files; mount one at /tmp: {failure_text(error)}"
        raise StartError(message) from error
    owner = os.getpid()
    try:
        yield folder
    finally:
        if os.getpid() == owner:  # a worker is a fork, and ends here too
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep(where: Path) -> None:
    """Remove this user's folders that no process has locked."""
    for folder in where.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it is another user's, no folder, in use, or gone meanwhile
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
