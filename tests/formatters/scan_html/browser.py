"""A headless browser, as far as a page's tests need one, controlled over a pipe (Chrome DevTools Protocol).

A browser of the Chromium family on PATH is enough: no driver, no port, no package. TOKENGUARD_BROWSER names another.
"""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
FOUND = next(filter(None, map(shutil.which, [os.environ.get("TOKENGUARD_BROWSER") or "", *NAMES])), None)
HINT = "no browser of the Chromium family on PATH (in Debian: chromium), nor in TOKENGUARD_BROWSER"
_PATIENCE = 60
_HANDING_ON = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3]]
os.dup2(ends[0], 3), os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Runs the browser with its pipe where it looks for it: it reads the file 3 and writes to the file 4."""
_KEYS = {"Tab": 9, "Enter": 13, "ArrowDown": 40}


class Browser:
    """One page in a browser; `events` are those of the browser since it was last opened."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._received = b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.events: list[Any] = []
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **parameters: Any) -> Any:
        """Have the browser do something, and return its answer."""
        number = next(self._numbers)
        command: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        waiting = memoryview(json.dumps(command).encode() + b"\0")
        while waiting:
            waiting = waiting[os.write(self._commands, waiting) :]
        while (answer := self._next()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def open(
        self, page: Path, width: int = 1280, height: int = 900, *, dark: bool = False, scripts: bool = True
    ) -> None:
        """Open a file and wait until it is loaded."""
        self.do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.do("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.media(dark=dark)
        self.events.clear()
        self.do("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def media(self, kind: str = "", *, dark: bool = False) -> None:
        """Show the page as on a screen or on paper, in the light or in the dark."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.do("Emulation.setEmulatedMedia", media=kind, features=[scheme])

    def value(self, expression: str) -> Any:
        """Return what an expression is worth in the page."""
        answer = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        code = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self.do("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.do("Input.dispatchKeyEvent", type="keyUp", **code)

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self.do("Input.insertText", text=text)

    def pdf(self) -> bytes:
        """Return the page as it is printed."""
        return base64.b64decode(self.do("Page.printToPDF", preferCSSPageSize=True)["data"])

    def _next(self) -> Any:
        end = time.monotonic() + _PATIENCE
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._answers], [], [], max(0, end - time.monotonic()))
            assert ready, "the browser says nothing any more"
            more = os.read(self._answers, 1 << 16)
            assert more, "the browser has ended"
            self._received += more
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a browser that keeps what it keeps in a folder, and knows nobody's settings."""
    assert FOUND, HINT
    from_us, commands = os.pipe()
    answers, to_us = os.pipe()
    flags = [
        "--headless",
        "--remote-debugging-pipe",
        f"--user-data-dir={folder}",
        "--no-first-run",
        "--no-sandbox",  # as root there is none; the page is ours, and its policy lets nothing in
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--force-prefers-reduced-motion",
    ]
    command = [sys.executable, "-c", _HANDING_ON, str(from_us), str(to_us), FOUND, *flags]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, pass_fds=(from_us, to_us), stderr=log, stdout=log)
    os.close(from_us)
    os.close(to_us)
    try:
        yield Browser(commands, answers)
    finally:
        os.close(commands)  # with its pipe gone it ends by itself
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(answers)
