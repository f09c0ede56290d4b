"""What tokenguard is held against: `python -m tests.bench.baselines constant|flask serve ...`, its own flags and all.

Both run on tokenguard's own gunicorn settings, certificate and listening socket. `constant` is an ASGI application
that takes the body in and gives every request one answer, which is in the file named by $BENCH_ANSWER: what it takes
is what HTTP and TLS take in Python. `flask` is tokenguard's own Flask application, audit log and metrics included,
under gunicorn's `gthread`.
"""

import os
import sys
from pathlib import Path
from typing import Any

from webhook.cli import main
from webhook.server import run as served

ANSWER = "BENCH_ANSWER"
THREADS = 4
"""For each worker; 2 to 4 for each core is what gunicorn's documentation advises."""


class Constant:
    """The ASGI application that decides nothing."""

    def __init__(self, answer: bytes) -> None:
        """Take the answer."""
        length = str(len(answer)).encode()
        self._start = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json"), (b"content-length", length)],
        }
        self._body = {"type": "http.response.body", "body": answer}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer."""
        if scope["type"] != "http":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        while (await receive()).get("more_body"):
            pass
        await send(self._start)
        await send(self._body)


class UnderThreads(served._Gunicorn):
    """tokenguard's Flask application under gthread."""

    def load_config(self) -> None:
        super().load_config()
        self.cfg.set("worker_class", "gthread")
        self.cfg.set("threads", THREADS)
        self.cfg.set("graceful_timeout", 1)  # at its end; gthread waits for all of it though nobody is connected

    def load(self) -> Any:
        application = super().load()
        self.cfg.set("post_worker_init", lambda _worker: None)
        self.cfg.set("child_exit", lambda _server, _worker: None)
        return application._pages.wsgi_application


if __name__ == "__main__":
    if sys.argv.pop(1) == "flask":
        served._Gunicorn = UnderThreads
    else:
        constant = Constant(Path(os.environ[ANSWER]).read_bytes())
        build = served._application
        served._application = lambda *parts: (build(*parts)[0], constant)
    main(prog_name="tokenguard")
