"""The options of the server, as `tokenguard serve` takes them from flags and environment variables."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from webhook.core.cluster_state import DEFAULT_NAMESPACE
from webhook.core.errors import UserError
from webhook.core.formatting import failure_text
from webhook.server.background import BackstopFactory, CertificateSourceFactory, LiveSourceFactory, ProbeFactory


class StartError(UserError):
    """The server can't start; the message says why, in one line."""


@dataclass(frozen=True)
class ServeOptions:
    """Options with the names of their flags, whose help says what they mean. Raises `StartError` if two conflict.

    `audit_file_max_size` is in bytes, 0 for no limit. `live`, `certificates`, `probe` and `backstop` create what
    connects to the API server.
    """

    bind: tuple[str, int] = ("0.0.0.0", 8443)
    policy: Path | None = None
    policy_configmap: str | None = None
    own_namespace: str = DEFAULT_NAMESPACE
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
    unpatched_pods: str = "deny"
    audit_file: Path | None = None
    audit_file_max_size: int = 100 << 20
    audit_file_keep: int = 5
    pod_events: bool = True
    max_body_bytes: int = 8 << 20
    log_format: str = "text"
    log_level: str = "info"
    scan_status: Path | None = None
    probe_namespace: str | None = None
    probe_interval: int = 60
    live: LiveSourceFactory | None = None
    certificates: CertificateSourceFactory | None = None
    probe: ProbeFactory | None = None
    backstop: BackstopFactory | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        for message in chain(self._tls_errors(), self._policy_errors(), self._audit_errors()):
            raise StartError(message)

    def _tls_errors(self) -> Iterator[str]:
        files = self.tls_cert or self.tls_key
        if self.tls_self_signed and files:
            yield "--tls-self-signed excludes --tls-cert and --tls-key"
        if self.tls_secret and (files or self.tls_self_signed):
            yield "--tls-secret excludes --tls-cert, --tls-key and --tls-self-signed"
        if not (self.tls_self_signed or self.tls_secret or (self.tls_cert and self.tls_key)):
            yield "no certificate: set --tls-cert and --tls-key, --tls-secret, or --tls-self-signed"
        if self.manage_certs and not self.tls_secret:
            yield "--manage-certs requires --tls-secret"
        if self.tls_san and (files or (self.tls_secret and not self.manage_certs)):
            where = "from files" if files else "from a Secret without --manage-certs"
            yield f"--tls-san has no effect on a certificate {where}; leave it out"

    def _policy_errors(self) -> Iterator[str]:
        if self.policy_configmap and self.policy:
            yield "--policy excludes --policy-configmap"
        if self.kubeconfig and not os.access(self.kubeconfig, os.R_OK):
            yield f"--kubeconfig {self.kubeconfig}: does not exist or is not readable"
        if not self.state_folder:
            return
        if not self.policy_configmap:
            yield "--state-folder requires --policy-configmap"
        try:
            self.state_folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            yield f"--state-folder {self.state_folder}: {failure_text(error)}"
        if not os.access(self.state_folder, os.W_OK):
            yield f"--state-folder {self.state_folder}: not writable"

    def _audit_errors(self) -> Iterator[str]:
        path = self.audit_file
        if path and path.exists() and not path.is_file():
            yield f"--audit-file {path}: not a regular file, so it cannot be rotated; use --audit-log"
        if path and self.audit_log != "-" and Path(self.audit_log).resolve() == path.resolve():
            yield f"--audit-log and --audit-file are both {path}: use one of them"
