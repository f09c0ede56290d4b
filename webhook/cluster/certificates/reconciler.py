"""What one replica does for the certificates, again and again: look at all there is, and take the step that is due.

Every replica does this, and none leads: a Secret or configuration that has changed since it was read isn't written
(its resourceVersion decides), and the next look finds what the other has done. The configurations are read before
the Secret: so whoever puts a bundle into one puts in what the Secret held later than the version that is replaced,
and a replica that is behind can't put back a bundle that is over.
"""

import contextlib
import datetime as dt
import logging
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from webhook.cluster.certificates import ca_bundle
from webhook.cluster.certificates.ca_bundle import WebhookConfiguration
from webhook.cluster.certificates.replicas import RENEWED_EVERY, Replica, Replicas, asked_for
from webhook.cluster.certificates.tls_secret import SecretVersion, TlsSecret
from webhook.cluster.transport import ApiError, Transport
from webhook.pki.certificate import Certificate, find_pair_error, find_private_key, parse_certificates
from webhook.pki.rotation import RequestedNames, RolloutProgress, StoredCertificates, next_step

log = logging.getLogger("tokenguard.certificates")

SETTLED_AFTER = 20.0
"""Seconds from when both configurations hold a bundle until every API server is taken to use it: each follows them by a
watch, which takes milliseconds, or seconds where it is behind."""
IDLE, SOON, AFTER_FAILURE = 30.0, 1.0, 5.0
"""Seconds until the next look, where nothing has told of a change before."""


@dataclass(frozen=True)
class CertificateSpec:
    """What is to be: in which Secret, for which DNS names and addresses. Without `manage` the Secret is only read."""

    secret: TlsSecret
    names: Collection[str]
    manage: bool

    def __str__(self) -> str:
        return f"Secret {self.secret.namespace}/{self.secret.name}"


@dataclass(frozen=True)
class ServedCertificate:
    """What this replica serves.

    `serve` has it serve a pair (chain and key, PEM), again where it does already. `pair` returns the last such, which
    may be a placeholder's, and `fingerprint` that of the certificate that it serves at this moment.
    """

    serve: Callable[[bytes], None]
    pair: Callable[[], bytes]
    fingerprint: Callable[[], str]


class Clock(NamedTuple):
    """The time of day, one for all replicas, lest they sign against each other; and seconds, counted from somewhere."""

    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    seconds: Callable[[], float] = time.monotonic


class Reconciler:
    """Takes the steps; not to be used by several threads at once."""

    def __init__(
        self, transport: Transport, wanted: CertificateSpec, served: ServedCertificate, clock: Clock | None = None
    ) -> None:
        """Take what is to be, and what is served."""
        self._transport = transport
        self._wanted = wanted
        self._secret = wanted.secret
        self._served = served
        self._now, self._seconds = clock or Clock()
        self.replicas = Replicas(wanted.secret.namespace, wanted.names)
        self._trusted: tuple[bytes, float] | None = None
        self._told: str | None = None
        self._beaten = 0.0
        self._failure = ""

    def reconcile(self) -> float:
        """Look, do what is due, and return in how many seconds to look again. What goes wrong is logged.

        What is refused holds up nothing but what depends on it.
        """
        refused: list[str] = []
        delay = AFTER_FAILURE
        with self._noting(refused):
            delay = self._reconcile(refused)
        failure = "; ".join(dict.fromkeys(refused))
        if failure and failure != self._failure:
            log.warning("%s: %s; it will be tried again", self._wanted, failure)
        elif self._failure and not failure:
            log.info("%s: works again", self._wanted)
        self._failure = failure
        return AFTER_FAILURE if failure and delay else delay

    @property
    def failing(self) -> bool:
        """Whether the last look has failed."""
        return bool(self._failure)

    @property
    def is_known(self) -> bool:
        """Whether others know of this replica, and wait for it."""
        return self._told is not None

    def end(self) -> None:
        """Take leave: this replica is no longer to be waited for."""
        if not self.is_known:
            return
        try:
            self.replicas.forget(self._transport, self.replicas.own)
        except ApiError as error:
            log.warning("Lease %s stays until it is old: %s", self.replicas.own, error)

    @contextlib.contextmanager
    def _noting(self, refused: list[str]) -> Iterator[None]:
        """Go on after the block where the API server refuses, or can't be reached, and note why."""
        try:
            yield
        except (ApiError, ValueError) as error:
            refused.append(str(error))

    def _reconcile(self, refused: list[str]) -> float:
        configurations: tuple[WebhookConfiguration, ...] | None = None
        if self._wanted.manage:
            with self._noting(refused):
                configurations = ca_bundle.read(self._transport)
        found = self._secret.read(self._transport, signs=self._wanted.manage)
        self._serve(found)
        if not self._wanted.manage:
            return IDLE
        alive: tuple[Replica, ...] | None = None
        with self._noting(refused):
            self._tell()
            alive = self.replicas.alive(self._transport)
        with self._noting(refused):
            again = self._step(found, configurations, alive)
            if again is not None:
                return again
        for one in configurations or ():
            with self._noting(refused):
                self._inject(found.stored, one)
        return IDLE if self._is_settled(found.stored) else SOON

    def _serve(self, found: SecretVersion) -> None:
        """Serve what the Secret contains, if it fits the CAs that are managed there."""
        stored = found.stored
        pair = stored.certificate + b"\n" + stored.key if stored.certificate or stored.key else b""
        if not pair and not self._wanted.manage:
            why = "holds no certificate" if found.version else "is not there"
            raise ValueError(f"{why}: make it, or have tokenguard make it with --manage-certs")
        fits = not self._wanted.manage or _is_signed(stored.serving, stored.cas)
        if pair and fits:
            self._served.serve(pair)
        mistake = "" if self._wanted.manage else find_pair_error(stored.certificate, stored.key, "tls.crt", "tls.key")
        if mistake:  # the server does not use it, and logs why, but cannot say that waiting is of no use
            raise ValueError(mistake)

    def _step(
        self,
        found: SecretVersion,
        configurations: tuple[WebhookConfiguration, ...] | None,
        alive: tuple[Replica, ...] | None,
    ) -> float | None:
        """Take the next step of a renewal, and return when to look at what has become of it; None: there is none.

        What isn't known of configurations and replicas is None.
        """
        stored = found.stored if found.stored.cas else self._recovered(configurations or ())
        arrived = RolloutProgress(
            self._is_trusted(stored.bundle, configurations), self._is_served_everywhere(stored, alive or ())
        )
        held = stored.serving.names if stored.serving else ()
        names = RequestedNames(tuple(self._wanted.names), asked_for(alive, held))
        step = next_step(stored, names, arrived, self._now())
        if step is None:
            return None
        if not self._secret.write(self._transport, step.stored, found.version):
            return SOON
        log.info("%s: %s", self._wanted, step.reason)
        return 0.0

    def _recovered(self, configurations: tuple[WebhookConfiguration, ...]) -> StoredCertificates:
        """Return what is known where the Secret is lost: what this replica serves, and the CAs that it is trusted by.

        So a new CA joins those, as in any rotation, and who trusts the old one isn't surprised.
        """
        pair = self._served.pair()
        serving = parse_certificates(pair)[:1]
        bundles = [called.bundle for configuration in configurations for called in configuration.webhooks.values()]
        found = [certificate for bundle in bundles for certificate in parse_certificates(bundle)]
        trusted = {certificate.pem for certificate in found if serving and serving[0].is_signed_by(certificate)}
        if not trusted:
            return StoredCertificates()
        chain = b"".join(one.pem for one in parse_certificates(pair))
        return StoredCertificates(b"".join(sorted(trusted)), b"", chain, find_private_key(pair))

    def _is_trusted(self, bundle: bytes, configurations: tuple[WebhookConfiguration, ...] | None) -> bool:
        """Say whether every API server trusts this bundle: it has been in the configurations for long enough."""
        if configurations is None or not all(one.trusts(bundle) for one in configurations):
            self._trusted = None
            return False
        if self._trusted is None or self._trusted[0] != bundle:
            self._trusted = bundle, self._seconds()
        return self._seconds() - self._trusted[1] >= SETTLED_AFTER

    def _is_served_everywhere(self, stored: StoredCertificates, alive: Collection[Replica]) -> bool:
        """Say whether every replica that there is serves the certificate; this one has to be among them."""
        serving = stored.serving
        return (
            serving is not None
            and self.replicas.own in {replica.name for replica in alive}
            and all(replica.serves == serving.fingerprint for replica in alive)
        )

    def _inject(self, stored: StoredCertificates, one: WebhookConfiguration) -> None:
        if stored.cas and not one.trusts(stored.bundle) and ca_bundle.inject(self._transport, one, stored.bundle):
            log.info("%s: its caBundle is now that of %s", one, self._wanted)

    def _tell(self) -> None:
        """Say which certificate this replica serves, where that is news, or was said a while ago."""
        serves = self._served.fingerprint()
        beats = self._told is None or self._seconds() - self._beaten >= RENEWED_EVERY
        if self._told == serves and not beats:
            return
        self.replicas.tell(self._transport, serves, self._now())
        self._told = serves
        if beats:
            self._beaten = self._seconds()
            self.replicas.beat(self._transport)

    def _is_settled(self, stored: StoredCertificates) -> bool:
        """Say whether nothing is under way that this replica waits for."""
        serving = stored.serving.fingerprint if stored.serving else ""
        return self._trusted is not None and len(stored.cas) == 1 and self._served.fingerprint() == serving


def _is_signed(serving: Certificate | None, authorities: tuple[Certificate, ...]) -> bool:
    return serving is not None and any(serving.is_signed_by(one) for one in authorities)
