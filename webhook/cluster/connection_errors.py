"""Why a request got no answer, in kubectl's words, and without the names of Python's exceptions."""

import re
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import urllib3

from webhook.core.formatting import failure_text

_MAX_MESSAGE_LENGTH = 300
_TLS_REASONS = (
    ("WRONG_VERSION_NUMBER", "http: server gave HTTP response to HTTPS client"),
    ("RECORD_LAYER_FAILURE", "http: server gave HTTP response to HTTPS client"),
    ("self-signed certificate", "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
    ("unable to get", "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
    ("expired", "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"),
    ("not yet valid", "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"),
)
_SILENT = "the API server was silent for too long"
_HOST = re.compile(r"certificate is not valid for '([^']*)'|Hostname mismatch")


def connection_error(error: Exception, server: str) -> str:
    """Return what went wrong with a request to the server with this URL, in one line."""
    parts = urlsplit(server)
    host = parts.netloc.rpartition("@")[2]
    causes = [*_causes(error)]
    if any(isinstance(cause, urllib3.exceptions.ReadTimeoutError) for cause in causes):
        return _SILENT
    if isinstance(error, urllib3.exceptions.ProxyError):
        return f"unable to connect to the server: proxyconnect tcp: {_reason(causes, host)}"
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return f"the connection to the server {host} was refused - did you specify the right host or port?"
    return f"unable to connect to the server: {_reason(causes, host)}"


def interruption(error: Exception) -> str:
    """Return why an answer ended before it was complete, in one line."""
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return _SILENT
    return f"the connection to the server was lost: {_reason([*_causes(error)], '')}"


def _reason(causes: list[BaseException], host: str) -> str:
    """Return the reason as Go's standard library would put it."""
    for cause in reversed(causes):
        match cause:
            case ssl.SSLError() | urllib3.exceptions.SSLError():
                return _tls_reason(cause, host)
            case socket.gaierror():
                return f"dial tcp: lookup {host.rpartition(':')[0] or host}: no such host"
            case urllib3.exceptions.ConnectTimeoutError() | TimeoutError():
                return f"dial tcp {host}: i/o timeout"
            case urllib3.exceptions.URLSchemeUnknown():
                return f'unsupported protocol scheme "{cause.scheme}"'
            case OSError(errno=int()):
                return failure_text(cause)
    text = " ".join(str(causes[0]).split())
    return text[:_MAX_MESSAGE_LENGTH] or "EOF"


def _tls_reason(error: Exception, host: str) -> str:
    text = str(error)
    if _HOST.search(text):
        return (
            f"tls: failed to verify certificate: x509: certificate is not valid for {host.rpartition(':')[0] or host}"
        )
    known = next((reason for part, reason in _TLS_REASONS if part in text), "")
    plain = re.sub(r"^\[[^]]*\] |\s*\(_ssl\.c:\d+\)$", "", getattr(error, "strerror", None) or text)
    return known or f"tls: {' '.join(plain.split())[:_MAX_MESSAGE_LENGTH]}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that caused it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = error.__cause__ or error.__context__
        if inner is None:
            inner = next((part for part in error.args if isinstance(part, BaseException)), None)
        error = inner
