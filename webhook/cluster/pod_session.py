"""Requests to the API server of the cluster in which this process runs, with the pod's address, CA and token.

This needs only urllib3. The official client does the same, but loading it takes 0.3 s and 13 MiB in every replica: it
is used for kubeconfigs and proxies (`client_session`).
"""

import json
import os
import socket
import ssl
import time
from pathlib import Path
from urllib.parse import quote, urlencode

import urllib3
from urllib3.connection import HTTPConnection

from webhook.cluster.transport import CONNECT_TIMEOUT, ApiError, ApiRequest
from webhook.core.formatting import failure_text

FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_INTERVAL = 60.0
"""Seconds. The kubelet replaces the token in its file long before it expires."""
_MAX_CONNECTIONS = 10
_KEEP_ALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class PodSession:
    """Address, CA and token of a pod's ServiceAccount."""

    context = ""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Find the API server. Raises `ApiError` outside a pod."""
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
        if not host or not port:
            raise ApiError(0, "not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
        self.host = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        self._token_file = folder / "token"
        self._token = ""
        self._read_at = -TOKEN_INTERVAL
        try:
            context = ssl.create_default_context(cafile=folder / "ca.crt")
        except OSError as error:  # an SSLError is one
            raise ApiError(0, f"cannot use {folder / 'ca.crt'}: {failure_text(error)}") from error
        options = [*HTTPConnection.default_socket_options, _KEEP_ALIVE]
        self._pool = urllib3.PoolManager(maxsize=_MAX_CONNECTIONS, ssl_context=context, socket_options=options)

    def token(self) -> str:
        """Return the token as it was in its file within the last minute. Raises `ApiError` if there is none."""
        if time.monotonic() - self._read_at >= TOKEN_INTERVAL:
            try:
                token = self._token_file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = failure_text(error) if isinstance(error, OSError) else "is not text"
                raise ApiError(0, f"cannot read {self._token_file}: {reason}") from None
            if not token:
                raise ApiError(0, f"cannot read {self._token_file}: it is empty")
            self._token = token
            self._read_at = time.monotonic()
        return self._token

    def send(self, request: ApiRequest) -> urllib3.BaseHTTPResponse:
        """Send a request; the body of the answer is not read yet."""
        query = urlencode(request.query, quote_via=quote)
        return self._pool.request(
            request.method,
            f"{self.host}{request.path}{'?' if query else ''}{query}",
            headers={**request.headers, "Authorization": f"Bearer {self.token()}"},
            body=None if request.body is None else json.dumps(request.body).encode(),
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=request.read_timeout),
            retries=False,
            preload_content=False,
        )
