"""An API server in small, which only answers lists, and kubeconfigs for it."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml


class Lists(http.server.BaseHTTPRequestHandler):
    """An API server in small: it gives the list or the object that it was given for a path, else no items."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.requests.append(path)
        status, items = self.server.answers.get(path, (200, []))
        kind = "PartialObjectMetadataList" if "PartialObject" in self.headers["Accept"] else "List"
        listed = items if isinstance(items, dict) else {"kind": kind, "metadata": {}, "items": items}
        answer = listed if status == 200 else {"message": "not for you"}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args) -> None:
        pass


@contextlib.contextmanager
def serve_lists() -> Iterator[Lists]:
    """Run the server; its `answers` are a status and the items by path, `requests` the paths of requests."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lists) as server:
        server.requests, server.answers = [], {}
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def configured(path: Path, **contexts: str) -> Path:
    """Write a kubeconfig with these contexts, each of a cluster with this URL; the first one is the current one."""
    path.write_text(yaml.safe_dump({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url}} for name, url in contexts.items()],
        "users": [{"name": "u", "user": {"token": "hunter2"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "u"}} for name in contexts],
        "current-context": next(iter(contexts)),
    }))  # fmt: skip
    return path
