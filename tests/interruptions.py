"""Runs the command line in a process that is interrupted right before one of its writes: of a file, or to a server.

Every state that an interrupted command can leave is the state before such a write, or the one after the last.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
_HOOK = """\
import os, signal, sys

number, how, folder = int(os.environ["INTERRUPT_AT"]), os.environ["INTERRUPT_BY"], os.environ["INTERRUPT_IN"]
count = 0


def is_write(event, args):
    if event == "http.client.send":
        return isinstance(args[1], bytes) and args[1].startswith((b"POST ", b"PATCH ", b"DELETE "))
    if not (args and str(args[0]).startswith(folder)):
        return False
    if event == "os.mkdir" or (event == "open" and args[2] & os.O_CREAT):
        return not os.path.lexists(args[0])
    return event in ("os.rename", "os.remove", "os.rmdir") and os.path.lexists(args[0])


def interrupt(event, args):
    global count
    if not is_write(event, args):
        return
    count += 1
    if count == number and how == "error":
        raise OSError(104, "Connection reset by peer") if event.startswith("http") else OSError(28, "disk full")
    if count == number:
        os.kill(os.getpid(), getattr(signal, how))


sys.addaudithook(interrupt)
"""
"""Python raises an audit event before each of these operations."""


class How(StrEnum):
    """How a command is interrupted: by a signal, or because its operation fails."""

    KILLED = "SIGKILL"
    CTRL_C = "SIGINT"
    ERROR = "error"


_STATUS = {How.KILLED: -signal.SIGKILL, How.CTRL_C: 130, How.ERROR: 2}


def interrupt_at_each_write(
    folder: Path, how: How, arguments: tuple[str, ...], prepare: Callable[[], None], complete: int
) -> Iterator[int]:
    """Run a command that is interrupted before its first write, then its second one, and so on; yield their numbers.

    `prepare` is called before each run. The files are those in `folder`, and `complete` is the exit status of a command
    that is not interrupted, which ends it.
    """
    hook = folder.parent / "interrupting"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_HOOK)
    paths = {"PYTHONPATH": f"{hook}:{CHECKOUT}", "PYTHONDONTWRITEBYTECODE": "1", "INTERRUPT_IN": str(folder)}
    number, status = 0, _STATUS[how]
    while status != complete:
        number += 1
        prepare()
        environment = {**os.environ, **paths, "INTERRUPT_AT": str(number), "INTERRUPT_BY": how}
        command = [sys.executable, "-m", "webhook", *arguments]
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        status = done.returncode
        assert status in (_STATUS[how], complete), done.stderr
        assert "Traceback" not in done.stderr
        if status != complete:
            yield number
