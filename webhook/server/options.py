"""What `tokenguard serve` can be told, as flags and as environment variables."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from webhook.pki.names import normal_name
from webhook.server.source import CertificateSource, LiveSource

_F = TypeVar("_F", bound=Callable[..., Any])
_LAST_PORT = 65535
_FILE = click.Path(path_type=Path)


class StartError(Exception):
    """The server can't start; the message says why, in one line."""


@dataclass(frozen=True)
class ServeOptions:
    """All that the server is told. Of a certificate with its key, `tls_self_signed` and `tls_secret` one is given.

    `policy` and `objects` are files that are followed while the server runs, `policy_configmap` is `namespace/name` in
    the cluster of `kubeconfig`, or in the cluster that the server runs in, and so is `tls_secret`; `client_ca` is a
    file of the CAs of those who may send reviews (None: anybody may); in `state_folder` the last valid policy of the
    ConfigMap outlives the process (None: it does not); `audit_log` is a file's path or `-` for stdout,
    `audit_level` is `decisions` or `all`. `audit_file` is written besides, and rotated past `audit_file_max_size` bytes
    (0: never) with `audit_file_keep` files kept; `audit_sample` is a share, 0 to 1; `audit_failure` is what becomes of
    changes and exemptions that can't be written down, `deny` or `allow`. `pod_events` says whether the owners of pods
    get Events. `live` and `certificates` follow what comes from no file.
    """

    bind: str = "0.0.0.0:8443"
    policy: Path | None = None
    policy_configmap: str | None = None
    kubeconfig: Path | None = None
    state_folder: Path | None = None
    objects: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_self_signed: bool = False
    tls_secret: str | None = None
    manage_certs: bool = False
    tls_san: tuple[str, ...] = ()
    client_ca: Path | None = None
    audit_log: str = "-"
    audit_level: str = "decisions"
    audit_sample: float = 1.0
    audit_failure: str = "deny"
    audit_file: Path | None = None
    audit_file_max_size: int = 100 << 20
    audit_file_keep: int = 5
    pod_events: bool = True
    max_body_bytes: int = 8 << 20
    live: LiveSource | None = None
    certificates: CertificateSource | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        self._check_certificate()
        if self.policy_configmap is not None:
            if self.policy:
                raise StartError("--policy and --policy-configmap are two places for one policy: give one")
            require_name("--policy-configmap", self.policy_configmap)
        if self.audit_file is not None:
            self._check_audit_file(self.audit_file)
        if self.kubeconfig and not os.access(self.kubeconfig, os.R_OK):
            raise StartError(f"--kubeconfig {self.kubeconfig}: there is no such file, or it can't be read")
        if self.state_folder is not None:
            self._check_state_folder(self.state_folder)

    def _check_state_folder(self, path: Path) -> None:
        if self.policy_configmap is None:
            raise StartError("--state-folder stores the policy of a ConfigMap: add --policy-configmap, or leave it out")
        try:
            path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StartError(f"--state-folder {path}: {error.strerror}") from error
        if not os.access(path, os.W_OK):
            raise StartError(f"--state-folder {path}: it can't be written")

    def _check_audit_file(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            raise StartError(
                f"--audit-file {path}: this is no regular file, which alone can be rotated: see --audit-log"
            )
        if self.audit_log != "-" and Path(self.audit_log).resolve() == path.resolve():
            raise StartError(f"--audit-log and --audit-file are both {path}: every line would be in it twice")

    def _check_certificate(self) -> None:
        files = bool(self.tls_cert or self.tls_key)
        if self.tls_self_signed and files:
            raise StartError("--tls-self-signed makes a certificate: leave out --tls-cert and --tls-key")
        if self.tls_secret and (files or self.tls_self_signed):
            raise StartError("--tls-secret is where the certificate is: leave out the other --tls flags")
        if not (self.tls_self_signed or self.tls_secret) and not (self.tls_cert and self.tls_key):
            raise StartError(
                "a webhook is served over TLS: give --tls-cert and --tls-key, --tls-secret, or --tls-self-signed"
            )
        if self.manage_certs and not self.tls_secret:
            raise StartError("--manage-certs keeps certificates in a Secret: say with --tls-secret in which one")
        if self.tls_san and (files or (self.tls_secret and not self.manage_certs)):
            where = "in files" if files else "that others keep in a Secret: give --manage-certs, too, or leave it out"
            raise StartError(f"--tls-san is for a certificate that tokenguard makes, not for one {where}")
        for name in self.tls_san:
            try:
                normal_name(name)
            except ValueError as error:
                raise StartError(f"--tls-san: {error}") from error
        if self.tls_secret:
            require_name("--tls-secret", self.tls_secret)


class Size(click.ParamType[int]):
    """A number of bytes, as `1048576` or `1Mi`."""

    name = "size"
    _UNITS: ClassVar = {"": 0, "Ki": 10, "Mi": 20, "Gi": 30}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes; fail as click does where it is none."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,12})(|Ki|Mi|Gi)", str(value))
        if not match:
            self.fail(f"{value!r} is no size: write bytes, or a number with Ki, Mi or Gi", param, ctx)
        return int(match[1]) << self._UNITS[match[2]]


def require_name(flag: str, value: str) -> None:
    """Raise `StartError` where a flag's value is no object's `namespace/name`."""
    if not re.fullmatch(r"[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}", value):
        raise StartError(f"{flag} {value}: write NAMESPACE/NAME")


def host_and_port(flag: str, value: str, example: str) -> tuple[str, int]:
    """Return both parts of `HOST:PORT`, an IPv6 address without its brackets. Raises `StartError`."""
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or int(port) > _LAST_PORT:
        raise StartError(f"{flag} {value}: write HOST:PORT, as {example}")
    return host, int(port)


_FLAGS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("--bind", "TOKENGUARD_BIND", {"metavar": "HOST:PORT", "default": ServeOptions.bind,
        "help": "Where to listen; port 0 takes a free one, and [::]:8443 IPv6 and IPv4."}),
    ("--policy", "TOKENGUARD_POLICY", {"type": _FILE,
        "help": "The policy: a TokenPolicy, or a ConfigMap manifest that holds one. Followed. None: the defaults."}),
    ("--policy-configmap", "TOKENGUARD_POLICY_CONFIGMAP", {"metavar": "NAMESPACE/NAME",
        "help": "The policy, in place of a file: a ConfigMap with key policy.yaml. Followed."}),
    ("--state-folder", "TOKENGUARD_STATE_FOLDER", {"type": click.Path(path_type=Path), "metavar": "FOLDER",
        "help": "Store the last valid policy of the ConfigMap here, for a restart while that holds an invalid one or "
        "is gone. Nobody else may write to it. Created if missing."}),
    ("--kubeconfig", "TOKENGUARD_KUBECONFIG", {"type": _FILE,
        "help": "How to reach the API server, for ConfigMap, Secrets and Namespaces; none: in a pod as that "
        "pod's ServiceAccount, elsewhere not at all."}),
    ("--objects", "TOKENGUARD_OBJECTS", {"type": _FILE,
        "help": "Manifests of the Secrets, Namespaces and ServiceAccounts to judge by, in place of a cluster's. "
        "Followed."}),
    ("--tls-cert", "TOKENGUARD_TLS_CERT", {"type": _FILE, "help": "Certificate chain, PEM. Followed."}),
    ("--tls-key", "TOKENGUARD_TLS_KEY", {"type": _FILE, "help": "Its private key, PEM. Followed."}),
    ("--tls-self-signed", "TOKENGUARD_TLS_SELF_SIGNED", {"is_flag": True,
        "help": "Make a certificate for this run, for localhost and the Service's name."}),
    ("--tls-secret", "TOKENGUARD_TLS_SECRET", {"metavar": "NAMESPACE/NAME",
        "help": "A Secret with tls.crt and tls.key, in place of files. Followed."}),
    ("--manage-certs", "TOKENGUARD_MANAGE_CERTS", {"is_flag": True,
        "help": "Make CA and certificate in that Secret, renew them, and have the webhook configurations trust "
        "them."}),
    ("--tls-san", "TOKENGUARD_TLS_SAN", {"multiple": True, "metavar": "NAME",
        "help": "One more name or address in the certificate that is made; repeatable."}),
    ("--client-ca", "TOKENGUARD_CLIENT_CA", {"type": _FILE,
        "help": "CAs, PEM: who sends a review must show a certificate that one of them has signed, as the API server "
        "can be told to. Followed. None: anybody may."}),
    ("--audit-log", "TOKENGUARD_AUDIT_LOG", {"metavar": "FILE|-", "default": ServeOptions.audit_log,
        "help": "Where to write a line of JSON for each decision."}),
    ("--audit-level", "TOKENGUARD_AUDIT_LEVEL", {"type": click.Choice(["decisions", "all"]),
        "default": ServeOptions.audit_level,
        "help": "What is written: all, or decisions, which leaves plain allows out. Denials always are."}),
    ("--audit-sample", "TOKENGUARD_AUDIT_SAMPLE", {"type": click.FloatRange(0, 1), "metavar": "SHARE",
        "default": ServeOptions.audit_sample,
        "help": "Of what was judged and not denied, changed or exempted, write this share: 0.1 is one in ten."}),
    ("--audit-failure", "TOKENGUARD_AUDIT_FAILURE", {"type": click.Choice(["deny", "allow"]),
        "default": ServeOptions.audit_failure,
        "help": "What becomes of changes and exemptions that can't be written down; deny: tokenguard isn't ready."}),
    ("--audit-file", "TOKENGUARD_AUDIT_FILE", {"type": _FILE, "metavar": "FILE",
        "help": "A file to write the audit log to besides, which is rotated: FILE.1 is the one before."}),
    ("--audit-file-max-size", "TOKENGUARD_AUDIT_FILE_MAX_SIZE", {"type": Size(),
        "default": f"{ServeOptions.audit_file_max_size >> 20}Mi",
        "help": "How large that file may become: bytes, or with Ki, Mi, Gi. 0: it is rotated by somebody else."}),
    ("--audit-file-keep", "TOKENGUARD_AUDIT_FILE_KEEP", {"type": click.IntRange(min=1),
        "default": ServeOptions.audit_file_keep, "help": "How many rotated files are kept."}),
    ("--pod-events/--no-pod-events", "TOKENGUARD_POD_EVENTS", {"default": ServeOptions.pod_events,
        "help": "Whether to make an Event on the owner of a pod that is rejected or exempted."}),
    ("--max-body-bytes", "TOKENGUARD_MAX_BODY_BYTES", {"type": click.IntRange(min=1024),
        "default": ServeOptions.max_body_bytes, "help": "The largest review that is read."}),
)  # fmt: skip


def serve_options(command: _F) -> _F:
    """Give a command the flags of `ServeOptions`, each with its environment variable."""
    for flag, variable, settings in reversed(_FLAGS):
        shown = "default" in settings
        command = click.option(flag, envvar=variable, show_envvar=True, show_default=shown, **settings)(command)
    return command
