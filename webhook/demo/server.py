"""Starts `tokenguard serve` for the demo, sends it reviews as the API server does, and stops it."""

import contextlib
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from webhook.core.errors import UserError

_SERVING = re.compile(r"serving on https://([\d.]+):(\d+)")
_CA_FILE = re.compile(r"--cacert (\S+)")
_START_SECONDS = 30
_STOP_SECONDS = 15


class DemoError(UserError):
    """The server failed; the message contains its output."""


class Server:
    """The running server."""

    def __init__(self, connection: http.client.HTTPSConnection, audit_log: Path) -> None:
        self._connection = connection
        self._audit_log = audit_log

    def review(self, phase: str, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Send a review to `mutate` or `validate`; return the response and the audit record, if there is one."""
        recorded = len(self._records())
        self._connection.request("POST", f"/{phase}", json.dumps(body), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != http.client.OK:
            raise DemoError(f"/{phase} answered {answer.status}: {text.decode(errors='replace')}")
        records = self._records()[recorded:]
        return json.loads(text)["response"], json.loads(records[0]) if records else None

    def _records(self) -> list[str]:
        return self._audit_log.read_text().splitlines() if self._audit_log.exists() else []


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[Server, list[str]]]:
    """Run `tokenguard serve` with its files in `folder`; yield it and its arguments. Raises `DemoError`."""
    here = Path(os.path.relpath(Path(__file__).parent))
    audit_log = folder / "audit.log"
    arguments = [
        "serve",
        *("--bind", "127.0.0.1:0"),
        "--tls-self-signed",
        *("--policy", str(here / "policy.yaml")),
        *("--objects", str(here / "objects.yaml")),
        *("--audit-log", str(audit_log)),
    ]
    log = folder / "server.log"
    with (
        log.open("w") as stderr,
        subprocess.Popen([sys.executable, "-m", "webhook", *arguments], stderr=stderr) as process,  # noqa: S603 - this program
    ):
        try:
            with contextlib.closing(_connect(process, log)) as connection:
                yield Server(connection, audit_log), arguments
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _connect(process: "subprocess.Popen[bytes]", log: Path) -> http.client.HTTPSConnection:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        text = log.read_text()
        address, ca_file = _SERVING.search(text), _CA_FILE.search(text)
        if address and ca_file:
            trust = ssl.create_default_context(cafile=ca_file[1])
            return http.client.HTTPSConnection(address[1], int(address[2]), context=trust, timeout=10)
        time.sleep(0.05)
    raise DemoError(f"the server did not start:\n{log.read_text()}")
