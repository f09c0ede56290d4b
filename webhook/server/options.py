"""The options of the server, as `tokenguard serve` takes them from flags and environment variables."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from webhook.server.lifecycle import CertificateSource, LiveSource


class StartError(Exception):
    """The server can't start; the message says why, in one line."""


@dataclass(frozen=True)
class ServeOptions:
    """Options with the names of their flags, whose help says what they mean. Raises `StartError` if two conflict.

    `audit_file_max_size` is in bytes, 0 for no limit. `live` and `certificates` connect to the API server.
    """

    bind: tuple[str, int] = ("0.0.0.0", 8443)
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
        """Check the options."""
        for message in chain(self._tls_errors(), self._policy_errors(), self._audit_errors()):
            raise StartError(message)

    def _tls_errors(self) -> Iterator[str]:
        files = self.tls_cert or self.tls_key
        if self.tls_self_signed and files:
            yield "--tls-self-signed makes a certificate: leave out --tls-cert and --tls-key"
        if self.tls_secret and (files or self.tls_self_signed):
            yield "--tls-secret is where the certificate is: leave out the other --tls flags"
        if not (self.tls_self_signed or self.tls_secret or (self.tls_cert and self.tls_key)):
            yield "a webhook is served over TLS: give --tls-cert and --tls-key, --tls-secret, or --tls-self-signed"
        if self.manage_certs and not self.tls_secret:
            yield "--manage-certs keeps certificates in a Secret: say with --tls-secret in which one"
        if self.tls_san and (files or (self.tls_secret and not self.manage_certs)):
            where = "in files" if files else "that others keep in a Secret: give --manage-certs, too, or leave it out"
            yield f"--tls-san is for a certificate that tokenguard makes, not for one {where}"

    def _policy_errors(self) -> Iterator[str]:
        if self.policy_configmap and self.policy:
            yield "--policy and --policy-configmap are two places for one policy: give one"
        if self.kubeconfig and not os.access(self.kubeconfig, os.R_OK):
            yield f"--kubeconfig {self.kubeconfig}: there is no such file, or it can't be read"
        if not self.state_folder:
            return
        if not self.policy_configmap:
            yield "--state-folder stores the policy of a ConfigMap: add --policy-configmap, or leave it out"
        try:
            self.state_folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            yield f"--state-folder {self.state_folder}: {error.strerror}"
        if not os.access(self.state_folder, os.W_OK):
            yield f"--state-folder {self.state_folder}: it can't be written"

    def _audit_errors(self) -> Iterator[str]:
        path = self.audit_file
        if path and path.exists() and not path.is_file():
            yield f"--audit-file {path}: this is no regular file, which alone can be rotated: see --audit-log"
        if path and self.audit_log != "-" and Path(self.audit_log).resolve() == path.resolve():
            yield f"--audit-log and --audit-file are both {path}: every line would be in it twice"
