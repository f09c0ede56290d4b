"""What tokenguard is measured against: `python -m tests.bench.baselines asgi|worker serve ...`, with its own flags.

Both answer every review with the content of the file $BENCH_ANSWER, on tokenguard's certificate and listening socket.
`asgi` is gunicorn's own `asgi` worker with its HTTP parser in C, on asyncio's loop: what HTTP and TLS commonly cost in
Python. `worker` is tokenguard's own worker, so the difference between the two is the server's.
"""

import os
import sys
from pathlib import Path
from typing import Any

from webhook.cli import main
from webhook.server import server
from webhook.server.gunicorn_app import GunicornApp
from webhook.server.http_message import HttpResponse
from webhook.server.review_handler import ReviewHandler

ANSWER = "BENCH_ANSWER"


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


class AsgiApp(GunicornApp):
    """gunicorn's `asgi` worker."""

    def load_config(self) -> None:
        """Set what gunicorn needs to do all by itself."""
        super().load_config()
        settings = {
            "worker_class": "asgi",
            "asgi_loop": "asyncio",
            "http_parser": "fast",
            "certfile": str(self._folder / "tls.crt"),
            "keyfile": str(self._folder / "tls.key"),
            "keepalive": 95,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Return the ASGI application."""
        super().load()
        return Constant(answer)


if __name__ == "__main__":
    answer = Path(os.environ[ANSWER]).read_bytes()
    if sys.argv.pop(1) == "asgi":
        server.GunicornApp = AsgiApp
    else:
        ReviewHandler.read = lambda *_: HttpResponse(200, answer)
    main(prog_name="tokenguard")
