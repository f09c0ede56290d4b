"""An HTTP server that answers as an API server does, for tests of the client."""

import http.server
import json


class ApiRequestHandler(http.server.BaseHTTPRequestHandler):
    """Knows one token, and what to say to each path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.headers_seen.append(dict(self.headers))
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._say(401, {"message": "Unauthorized"})
        elif self.path.startswith("/silent"):
            self._begin()
            self.wfile.write(b"6\r\nhello\n\r\n")
            self.server.over.wait(20)
        elif self.path.startswith("/broken"):
            self._begin()
            self.wfile.write(b"6\r\nhello\n\r\n")
        elif self.path.startswith("/busy"):
            self._say(429, {"message": "too\nmany"}, {"Retry-After": "7"})
        elif self.path.startswith("/expired"):
            self._say(410, {"message": "too old", "metadata": {"continue": "onward"}})
        else:
            self._say(200, {"path": self.path})

    def date_time_string(self, timestamp=None) -> str:
        return self.server.date or super().date_time_string(timestamp)

    def do_POST(self) -> None:
        if self.path.endswith("/pods?dryRun=All"):
            self.rfile.read(int(self.headers["Content-Length"]))
            warnings = {"Warning": '299 - "a \\"quoted\\" field"', "warning": '299 kube "another, with a comma"'}
            self._say(403, {"message": "denied\nhere"}, warnings)
            return
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._say(201, {"kind": "Stored"})

    def do_PATCH(self) -> None:
        self.server.headers_seen.append(dict(self.headers))
        self.do_POST()

    def do_PUT(self) -> None:
        self.server.headers_seen.append({"Method": self.command, **dict(self.headers)})
        self.do_POST()

    def do_DELETE(self) -> None:
        self.server.bodies.append((self.command, self.path))
        self._say(200, {"kind": "Status"})

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True

    def _say(self, status, value, headers=()) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, content in {**dict(headers), "Content-Length": str(len(body))}.items():
            self.send_header(name, content)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args) -> None:
        pass
