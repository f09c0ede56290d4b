"""Requests to the API server of the cluster that this process runs in: address, CA and token are where a pod has them.

This takes urllib3 alone. The official client does the same, but loading it costs 0.3 s and 13 MiB in every replica: it
is for kubeconfigs, and for proxies (`client_session`).
"""

import json
import os
import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from urllib3.connection import HTTPConnection

from webhook.cluster.transport import ApiError

FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_INTERVAL = 60.0
"""Seconds. The kubelet replaces the token in its file long before it expires."""
_CONNECTIONS = 10
_KEEP_ALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class PodSession:
    """Address, trust and token of a pod's ServiceAccount."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Read where the API server is. Raises `ApiError` outside a pod."""
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
        if not host or not port:
            raise ApiError(0, "Service host/port is not set.")
        self.host = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        self._token_file = folder / "token"
        self._token = ""
        self._read_at = -TOKEN_INTERVAL
        try:
            context = ssl.create_default_context(cafile=folder / "ca.crt")
        except (OSError, ssl.SSLError) as error:
            raise ApiError(0, f"{folder / 'ca.crt'} can't be used: {error.strerror or type(error).__name__}") from error
        options = [*HTTPConnection.default_socket_options, _KEEP_ALIVE]
        self._pool = urllib3.PoolManager(maxsize=_CONNECTIONS, ssl_context=context, socket_options=options)

    def token(self) -> str:
        """Return the token as it was in its file within the last minute. Raises `ApiError` if there is none."""
        if time.monotonic() - self._read_at >= TOKEN_INTERVAL:
            try:
                self._token = self._token_file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ApiError(0, f"{self._token_file} can't be read: {type(error).__name__}") from None
            self._read_at = time.monotonic()
        return self._token

    def send(  # noqa: PLR0913, PLR0917 - what a request consists of
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: dict[str, Any] | None,
        timeout: tuple[float, float],
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; the answer's body is still to be read. `timeout` is to connect and to read, in seconds."""
        connect, read = timeout
        return self._pool.request(
            method,
            f"{self.host}{path}{'?' if query else ''}{urlencode(query, quote_via=quote)}",
            headers={**headers, "Authorization": f"Bearer {self.token()}"},
            body=None if body is None else json.dumps(body).encode(),
            timeout=urllib3.Timeout(connect=connect, read=read),
            retries=False,
            preload_content=False,
        )
