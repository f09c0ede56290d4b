"""Starting the real server for the demo, talking to it as the API server does, and stopping it again."""

import contextlib
import http.client
import json
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_SERVING = re.compile(r"serving on https://(?P<host>[\d.]+):(?P<port>\d+)")
_AUTHORITY = re.compile(r"--cacert (?P<file>\S+)")
_SECONDS_TO_START = 30
_SECONDS_TO_STOP = 15


class DemoError(Exception):
    """The demo's server didn't do its part; the message says what it wrote."""


class Server:
    """The running server, over one kept connection."""

    def __init__(self, connection: http.client.HTTPSConnection, audit_log: Path) -> None:
        """Take what `running` made."""
        self._connection = connection
        self._audit_log = audit_log

    def review(self, phase: str, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Send one review (`mutate` or `validate`); return the response and the audit log's line about it."""
        before = len(self._audit_lines())
        self._connection.request("POST", f"/{phase}", json.dumps(body), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != http.client.OK:
            raise DemoError(f"/{phase} answered {answer.status}: {text.decode(errors='replace')}")
        lines = self._audit_lines()[before:]
        return json.loads(text)["response"], json.loads(lines[0]) if lines else None

    def _audit_lines(self) -> list[str]:
        return self._audit_log.read_text().splitlines() if self._audit_log.exists() else []


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[Server, list[str]]]:
    """Run `tokenguard serve` on a free port of the loopback; give it with its command line, and stop it at the end.

    Raises `DemoError` where it doesn't start.
    """
    audit_log = folder / "audit.log"
    arguments = [
        "serve",
        *("--bind", "127.0.0.1:0"),
        "--tls-self-signed",
        *("--policy", _from_here("policy.yaml")),
        *("--objects", _from_here("objects.yaml")),
        *("--audit-log", str(audit_log)),
    ]
    with subprocess.Popen(  # noqa: S603 - this very program
        [sys.executable, "-m", "webhook", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            with contextlib.closing(_connected(process)) as connection:
                yield Server(connection, audit_log), arguments
        finally:
            process.terminate()
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()


def _from_here(name: str) -> str:
    """Return the path of one of the demo's files as a person would type it."""
    path = _HERE / name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _connected(process: "subprocess.Popen[str]") -> http.client.HTTPSConnection:
    written: list[str] = []
    found: dict[str, str] = {}
    ready = threading.Event()

    def follow() -> None:
        for line in process.stderr or ():
            written.append(line)
            for pattern in (_SERVING, _AUTHORITY):
                if match := pattern.search(line):
                    found.update(match.groupdict())
            if {"port", "file"} <= found.keys():
                ready.set()
        ready.set()

    threading.Thread(target=follow, daemon=True).start()
    ready.wait(_SECONDS_TO_START)
    if not {"port", "file"} <= found.keys():
        raise DemoError("the server didn't start:\n" + "".join(written))
    trust = ssl.create_default_context(cafile=found["file"])
    return http.client.HTTPSConnection(found["host"], int(found["port"]), context=trust, timeout=10)
