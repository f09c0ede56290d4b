"""What one replica does for the certificates: read everything, and take the next step, as `pki/rotation.py` decides.

Every replica does this; there is no leader. A Secret or configuration that has changed since it was read is not written
(its resourceVersion decides), and the next reconciliation sees what the other replica has done. The configurations are
read before the Secret. So the bundle that replaces a version of a configuration was read from the Secret after that
version: a slow replica cannot restore an old bundle.
"""

import contextlib
import datetime as dt
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from webhook.cluster.certificates.ca_bundle import WebhookConfiguration, read_configurations, set_ca_bundle
from webhook.cluster.certificates.tls_secret import SecretVersion, TlsSecret
from webhook.cluster.transport import ApiError, Transport
from webhook.pki.certificate import Certificate, find_pair_error, find_private_key, parse_certificates
from webhook.pki.rotation import RolloutProgress, StoredCertificates, next_step

log = logging.getLogger("tokenguard.certificates")

IDLE, SOON, AFTER_FAILURE = 30.0, 1.0, 5.0
"""Seconds until the next reconciliation if no watch reports a change before."""
TRUST_DELAY = 20.0
"""Seconds from when both configurations have a bundle until every API server is assumed to use it: each watches them,
which takes milliseconds, or seconds if it is late."""
SERVE_DELAY = IDLE + 15.0
"""Seconds from when the Secret has a certificate until every replica is assumed to serve it: each watches the Secret,
and reads it every `IDLE` seconds if the watch fails. Only the removal of a revoked CA depends on it."""


@dataclass(frozen=True)
class CertificateSpec:
    """The Secret, and the DNS names and addresses of the certificate. Without `manage` the Secret is only read."""

    secret: TlsSecret
    names: Collection[str]
    manage: bool


@dataclass(frozen=True)
class ServedCertificate:
    """What this replica serves.

    `serve` starts to serve a pair (chain and key, PEM). `pair` returns the last one, which may be a placeholder, and
    `fingerprint` that of the certificate that is served at this moment.
    """

    serve: Callable[[bytes], None]
    pair: Callable[[], bytes]
    fingerprint: Callable[[], str]


class Clock(NamedTuple):
    """The time of day by the API server's clock, the same for all replicas, and seconds of a monotonic clock."""

    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    seconds: Callable[[], float] = time.monotonic


class _Stopwatch:
    """Measures for how long a content has been the same."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self.content: bytes | None = None
        self._since = 0.0

    def age(self, content: bytes) -> float:
        """Return the seconds since this content came; another one starts the time again."""
        if content != self.content:
            self.content, self._since = content, self._seconds()
        return self._seconds() - self._since


class Reconciler:
    """Takes the steps, in one thread."""

    def __init__(
        self, transport: Transport, spec: CertificateSpec, served: ServedCertificate, clock: Clock | None = None
    ) -> None:
        self._transport = transport
        self._spec = spec
        self._secret = spec.secret
        self._served = served
        self._now, seconds = clock or Clock()
        self._bundle_stopwatch, self._certificate_stopwatch = _Stopwatch(seconds), _Stopwatch(seconds)
        self._failure = ""

    def reconcile(self) -> float:
        """Read everything, take the next step, and return the seconds until the next reconciliation.

        Errors are logged. What the API server refuses delays only what depends on it.
        """
        errors: list[str] = []
        delay = AFTER_FAILURE
        with self._collect(errors):
            delay = self._reconcile(errors)
        failure = "; ".join(dict.fromkeys(errors))
        if failure and failure != self._failure:
            log.warning("%s: %s; retrying", self._secret, failure)
        elif self._failure and not failure:
            log.info("%s: works again", self._secret)
        self._failure = failure
        return AFTER_FAILURE if failure and delay else delay

    @property
    def is_failing(self) -> bool:
        """Whether the last reconciliation has failed."""
        return bool(self._failure)

    @staticmethod
    @contextlib.contextmanager
    def _collect(errors: list[str]) -> Iterator[None]:
        """Continue after the block if it fails, and keep the reason."""
        try:
            yield
        except (ApiError, ValueError) as error:
            errors.append(str(error))

    def _reconcile(self, errors: list[str]) -> float:
        configurations: tuple[WebhookConfiguration, ...] | None = None
        if self._spec.manage:
            with self._collect(errors):
                configurations = read_configurations(self._transport)
        secret = self._secret.read(self._transport, signs=self._spec.manage)
        self._serve(secret)
        if not self._spec.manage:
            return IDLE
        with self._collect(errors):
            delay = self._take_step(secret, configurations)
            if delay is not None:
                return delay
        for configuration in configurations or ():
            with self._collect(errors):
                self._update_ca_bundle(secret.stored, configuration)
        return IDLE if self._is_settled(secret.stored) else SOON

    def _serve(self, secret: SecretVersion) -> None:
        """Serve the content of the Secret; of a managed one, only what its CAs have signed."""
        stored = secret.stored
        pair = stored.certificate + b"\n" + stored.key if stored.certificate or stored.key else b""
        if self._spec.manage:
            serving = stored.serving
            if serving is not None and any(serving.is_signed_by(ca) for ca in stored.cas):
                self._served.serve(pair)
            return
        if not pair:
            reason = "contains no certificate" if secret.version else "does not exist"
            raise ValueError(f"{reason}: create it, or use --manage-certs")
        self._served.serve(pair)
        if error := find_pair_error(stored.certificate, stored.key, "tls.crt", "tls.key"):
            raise ValueError(error)  # the server logs it, too, but only here is it known that waiting is of no use

    def _take_step(
        self, current: SecretVersion, configurations: tuple[WebhookConfiguration, ...] | None
    ) -> float | None:
        """Take the next step of a rotation, and return the seconds until the next reconciliation; None: no step.

        `configurations` are None if they could not be read.
        """
        stored = current.stored
        if not stored.cas:
            if configurations is None:  # they may contain the CAs of what other replicas serve
                return None
            stored = self._recover(configurations)
        trusted = configurations is not None and all(
            configuration.trusts(stored.bundle) for configuration in configurations
        )
        progress = RolloutProgress(
            self._bundle_stopwatch.age(stored.bundle if trusted else b"") >= TRUST_DELAY and trusted,
            self._certificate_stopwatch.age(stored.certificate) >= SERVE_DELAY,
        )
        step = next_step(stored, self._spec.names, progress, self._now())
        if step is None:
            return None
        if not self._secret.write(self._transport, step.stored, current.version):
            return SOON
        log.info("%s: %s", self._secret, step.reason)
        return 0.0

    def _recover(self, configurations: tuple[WebhookConfiguration, ...]) -> StoredCertificates:
        """Return what is known after the Secret was lost: what this replica serves, and the CAs of the configurations.

        So a new CA joins these, and revokes them, because it is unknown which were revoked and who has their keys.
        """
        pair = self._served.pair()
        chain = parse_certificates(pair)
        bundles = {webhook.bundle for configuration in configurations for webhook in configuration.webhooks.values()}
        known_cas = {ca.pem: ca for bundle in bundles for ca in parse_certificates(bundle)}
        cas = sorted(known_cas.values(), key=lambda ca: ca.not_before, reverse=True)
        cas.sort(key=lambda ca: not (chain and chain[0].is_signed_by(ca)))  # that of the served certificate first
        if not cas:
            return StoredCertificates()
        return StoredCertificates(_join(cas), b"", _join(chain), find_private_key(pair))

    def _update_ca_bundle(self, stored: StoredCertificates, configuration: WebhookConfiguration) -> None:
        if not stored.cas or configuration.trusts(stored.bundle):
            return
        if set_ca_bundle(self._transport, configuration, stored.bundle):
            log.info("%s: set the caBundle from %s", configuration, self._secret)

    def _is_settled(self, stored: StoredCertificates) -> bool:
        """Return whether nothing is in progress."""
        serving = stored.serving
        return (
            serving is not None
            and self._bundle_stopwatch.content == stored.bundle
            and serving.is_signed_by(stored.cas[0])
            and not stored.revoked_cas
            and self._served.fingerprint() == serving.fingerprint
        )


def _join(certificates: Iterable[Certificate]) -> bytes:
    return b"".join(certificate.pem for certificate in certificates)
