"""Runs the Flask application, which answers all requests but reviews, in threads beside the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Flask, Response

from webhook.server.http_message import HttpResponse, Request

THREADS = 2


class FlaskRunner:
    """Answers requests by a Flask application."""

    def __init__(self, app: Flask, internal_error: Callable[[Exception], HttpResponse]) -> None:
        """`internal_error` returns the answer if the application raises an error."""
        self._app = app
        self._internal_error = internal_error
        self._pool = ThreadPoolExecutor(THREADS, "tokenguard-flask")
        self._scrapes = ThreadPoolExecutor(1, "tokenguard-metrics")  # slow, and must not keep probes waiting

    def handle(self, request: Request, respond: Callable[[Request, HttpResponse], object]) -> None:
        """Answer a request in a thread; `respond` is then called in the running loop."""
        loop = asyncio.get_running_loop()

        def answer() -> None:
            try:
                response = self.response(request)
            except Exception as error:  # noqa: BLE001 - there has to be an answer
                response = self._internal_error(error)
            loop.call_soon_threadsafe(respond, request, response)

        pool = self._scrapes if request.url.startswith(b"/metrics") else self._pool
        pool.submit(answer)

    def response(self, request: Request) -> HttpResponse:
        """Return the application's answer."""
        response = Response.from_app(self._app.wsgi_app, _environ(request), buffered=True)
        headers = response.headers
        return HttpResponse(
            response.status_code, response.get_data(), headers.get("Content-Type", ""), headers.get("Allow", "")
        )


def _environ(request: Request) -> dict[str, Any]:
    """Return the WSGI environment of a request without a body (PEP 3333)."""
    path, _, query = request.url.partition(b"?")
    return {
        "REQUEST_METHOD": "GET" if request.method == b"HEAD" else request.method.decode("latin-1"),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": "tokenguard",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": BytesIO(),
        "wsgi.errors": BytesIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
