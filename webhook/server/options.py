"""What `tokenguard serve` can be told, as flags and as environment variables."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)


class StartError(Exception):
    """The server can't start; the message says why, in one line."""


@dataclass(frozen=True)
class ServeOptions:
    """All that the server is told. Exactly one of a certificate with its key and `tls_self_signed` is given.

    `policy` and `objects` are files that are followed while the server runs; `audit_log` is a file's path
    or `-` for stdout, `audit_level` is `decisions` or `all`.
    """

    bind: str = "0.0.0.0:8443"
    workers: int = 2
    policy: Path | None = None
    objects: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_self_signed: bool = False
    tls_san: tuple[str, ...] = ()
    audit_log: str = "-"
    audit_level: str = "decisions"
    max_body_bytes: int = 8 << 20

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        if self.tls_self_signed and (self.tls_cert or self.tls_key):
            raise StartError("--tls-self-signed makes a certificate: leave out --tls-cert and --tls-key")
        if not self.tls_self_signed and not (self.tls_cert and self.tls_key):
            raise StartError("a webhook is served over TLS: give --tls-cert and --tls-key, or --tls-self-signed")


_FLAGS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("--bind", "TOKENGUARD_BIND", {"metavar": "HOST:PORT", "default": ServeOptions.bind,
        "help": "Where to listen; port 0 takes a free one, and [::]:8443 IPv6 and IPv4."}),
    ("--workers", "TOKENGUARD_WORKERS", {"type": click.IntRange(min=1), "default": ServeOptions.workers,
        "help": "Processes that answer."}),
    ("--policy", "TOKENGUARD_POLICY", {"type": _FILE,
        "help": "The policy: a TokenPolicy, or a ConfigMap manifest that holds one. Followed. None: the defaults."}),
    ("--objects", "TOKENGUARD_OBJECTS", {"type": _FILE,
        "help": "Manifests of the Secrets, Namespaces and ServiceAccounts to judge by. Followed."}),
    ("--tls-cert", "TOKENGUARD_TLS_CERT", {"type": _FILE, "help": "Certificate chain, PEM. Followed."}),
    ("--tls-key", "TOKENGUARD_TLS_KEY", {"type": _FILE, "help": "Its private key, PEM. Followed."}),
    ("--tls-self-signed", "TOKENGUARD_TLS_SELF_SIGNED", {"is_flag": True,
        "help": "Make a certificate for this run, for localhost and the Service's name."}),
    ("--tls-san", "TOKENGUARD_TLS_SAN", {"multiple": True, "metavar": "NAME",
        "help": "One more name or address in the certificate that is made; repeatable."}),
    ("--audit-log", "TOKENGUARD_AUDIT_LOG", {"metavar": "FILE|-", "default": ServeOptions.audit_log,
        "help": "Where to write a line of JSON for each decision."}),
    ("--audit-level", "TOKENGUARD_AUDIT_LEVEL", {"type": click.Choice(["decisions", "all"]),
        "default": ServeOptions.audit_level, "help": "Whether to write plain allows, too."}),
    ("--max-body-bytes", "TOKENGUARD_MAX_BODY_BYTES", {"type": click.IntRange(min=1024),
        "default": ServeOptions.max_body_bytes, "help": "The largest review that is read."}),
)  # fmt: skip


def serve_options(command: _F) -> _F:
    """Give a command the flags of `ServeOptions`, each with its environment variable."""
    for flag, variable, settings in reversed(_FLAGS):
        shown = "default" in settings
        command = click.option(flag, envvar=variable, show_envvar=True, show_default=shown, **settings)(command)
    return command
