"""Which certificate each worker of this process serves, because a rotation waits for the last of them."""

import os
from collections.abc import Callable
from pathlib import Path

from webhook.files import replace_file

_PROCESSES = Path("/proc")
_START = 19  # of the fields after the name, proc(5): when the process was started


class Notes:
    """Notes of the workers, in files named by their process ids and when those processes were started.

    Without the time a process that has got a dead worker's number would have its note taken for a living worker's.
    """

    def __init__(self, folder: Path, serving: Callable[[], str]) -> None:
        """Take the folder, which is made when it is needed, and what this worker serves."""
        self._folder = folder
        self._serving = serving
        self._written = ""

    def write(self) -> None:
        """Note what this worker serves, where that has changed."""
        serving = self._serving()
        if serving != self._written:
            self._folder.mkdir(exist_ok=True)
            replace_file(self._folder / note_name(os.getpid()), [serving.encode()])
            self._written = serving

    def read(self) -> frozenset[str]:
        """Return the fingerprints of what the living workers serve."""
        found = set()
        for file in self._folder.glob("[0-9]*"):
            number, _, started = file.name.partition("-")
            if not started.isdecimal():  # one that is just being written
                continue
            try:
                if note_name(int(number)) == file.name:
                    found.add(file.read_text(encoding="ascii"))
                else:
                    file.unlink(missing_ok=True)
            except FileNotFoundError:
                continue
        return frozenset(found)


def note_name(pid: int) -> str:
    """Return the name of a process's note: another one where another process has that number, '' where there is none.

    Where the system doesn't tell when a process was started, its number has to do.
    """
    try:
        told = (_PROCESSES / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        return f"{pid}-{told.rpartition(')')[2].split()[_START]}"
    except OSError:
        return f"{pid}-0" if _is_alive(pid) else ""


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # gone; or gone, and another user's process has its number
        return False
    return True
