"""Subject alternative names: DNS names and addresses in their normal form; `HOST:PORT`."""

import contextlib
import ipaddress
import re
from collections.abc import Iterable

from cryptography import x509

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LONGEST = 253
_MAX_PORT = 65535


def service_names(namespace: str, service: str = "tokenguard") -> tuple[str, ...]:
    """Return the DNS names of a Service; the API server calls `<service>.<namespace>.svc`."""
    short = f"{service}.{namespace}"
    return f"{short}.svc", f"{short}.svc.cluster.local", short


def normalize_name(name: str) -> str:
    """Return a DNS name (also `*.name`) in lower case, or an address in its shortest form. Raises ValueError."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        lower = name.lower()
        labels = lower.removeprefix("*.").split(".")
        if len(lower) > _LONGEST or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
            raise ValueError(f"{name!r} is neither a DNS name nor an address") from None
        return lower
    return str(ipaddress.ip_address(address.packed))  # without a zone, which certificates cannot contain


def valid_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the valid names in their normal form, each once."""
    unique: dict[str, None] = {}
    for name in names:
        with contextlib.suppress(ValueError):
            unique[normalize_name(name)] = None
    return tuple(unique)


def to_general_name(name: str) -> x509.DNSName | x509.IPAddress:
    """Return a name as an X.509 GeneralName. Raises ValueError as `normalize_name` does."""
    normal = normalize_name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(normal))
    except ValueError:
        return x509.DNSName(normal)


def parse_address(address: str) -> tuple[str, int]:
    """Return host, an IPv6 address without brackets, and port of `HOST:PORT`. Raises `ValueError`."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _MAX_PORT:
        raise ValueError(f"{address!r} is not HOST:PORT, like 127.0.0.1:8443 or [::1]:8443")
    return host.removeprefix("[").removesuffix("]"), int(port)
