"""What processes use, as the kernel counts it: Linux' /proc."""

import contextlib
import os
import resource
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_MIB = 1 << 10
"""In kibibytes, as the kernel counts."""


def children(pid: int) -> list[int]:
    """Return a process' children, by any of its threads."""
    lists = [task.joinpath("children") for task in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for child_list in lists for child in child_list.read_text().split()]


def tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    return [pid, *(descendant for child in children(pid) for descendant in tree(child))]


def cpu_seconds(pid: int) -> float:
    """Return the seconds of CPU, user's and system's, that a process and its descendants have used, the dead too."""
    return sum(_times(process) for process in tree(pid)) / _TICK


def _times(pid: int) -> int:
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_name[11:15]))  # utime, stime, and both of the children that it has waited for


def pss_mib(pid: int, *kinds: str) -> float:
    """Return the memory of one process in MiB, of what it shares with others its share.

    `kinds` are of Anon, File and Shmem; none given: all. Of what is mapped from files, such as a library, the share
    goes by who else runs on this machine.
    """
    wanted = {f"Pss_{kind}:" for kind in kinds} or {"Pss:"}
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split()[0] in wanted) / _MIB


def started(pid: int) -> int:
    """Return when a process was started, in the kernel's ticks."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def descriptors(pid: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def connections(pid: int, port: int) -> int:
    """Return how many established TCP connections over IPv4, to a port of this machine, a process holds."""
    sockets = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = str(file.readlink())
            sockets.add(target.removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[9] in sockets for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01")


def resident_kib(pid: int) -> int:
    """Return the memory that a process takes, in KiB."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


def open_files_limit(pid: int) -> int:
    """Return how many files a process may have open."""
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
