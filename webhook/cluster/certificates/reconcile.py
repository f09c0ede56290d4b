"""What one replica does for the certificates, again and again: look at all there is, and take the step that is due.

Every replica does this, and none leads: a Secret or configuration that has changed since it was read isn't written
(its resourceVersion decides), and the next look finds what the other has done. The configurations are read before
the Secret: so whoever puts a bundle into one puts in what the Secret held later than the version that is replaced,
and a replica that is behind can't put back a bundle that is over.
"""

import datetime as dt
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from webhook.cluster.certificates import bundles
from webhook.cluster.certificates.bundles import Configuration
from webhook.cluster.certificates.replicas import FORGOTTEN_AFTER, RENEWED_EVERY, Replicas
from webhook.cluster.certificates.secret import Found, TlsSecret
from webhook.cluster.transport import ApiError, Transport
from webhook.pki.renewal import Arrived, Kept, next_step

log = logging.getLogger("tokenguard.certificates")

SETTLED_AFTER = 20.0
"""Seconds from when both configurations hold a bundle until every API server is taken to use it: each follows them by a
watch, which takes milliseconds, or seconds where it is behind."""
IDLE, SOON, AFTER_FAILURE = 30.0, 1.0, 5.0
"""Seconds until the next look, where nothing has told of a change before."""


@dataclass(frozen=True)
class Wanted:
    """What is to be: in which Secret, for which DNS names and addresses. Without `manage` the Secret is only read."""

    secret: TlsSecret
    names: Collection[str]
    manage: bool

    def __str__(self) -> str:
        return f"Secret {self.secret.namespace}/{self.secret.name}"


@dataclass(frozen=True)
class Replica:
    """What is known of the replica itself.

    `serve` has it serve a certificate (chain and key, PEM); `serving` tells the fingerprints of what its workers serve.
    """

    serve: Callable[[bytes], None]
    serving: Callable[[], Collection[str]]


class Clock(NamedTuple):
    """The time of day, and seconds that are counted from somewhere."""

    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    seconds: Callable[[], float] = time.monotonic


class Reconciler:
    """Takes the steps; not to be used by several threads at once."""

    def __init__(self, transport: Transport, wanted: Wanted, replica: Replica, clock: Clock | None = None) -> None:
        """Take what is to be, and the replica that serves it."""
        self._transport = transport
        self._wanted = wanted
        self._secret = wanted.secret
        self._replica = replica
        self._now, self._seconds = clock or Clock()
        self.replicas = Replicas(wanted.secret.namespace)
        self._served = b""
        self._trusted: tuple[bytes, float] | None = None
        self._told: tuple[str, float] | None = None
        self._failure = ""

    def reconcile(self) -> float:
        """Look, do what is due, and return in how many seconds to look again. What goes wrong is logged."""
        try:
            delay = self._reconcile()
        except (ApiError, ValueError) as error:
            if str(error) != self._failure:
                log.warning("%s: %s; it will be tried again", self._wanted, error)
            self._failure = str(error)
            return AFTER_FAILURE
        if self._failure:
            log.info("%s: works again", self._wanted)
        self._failure = ""
        return delay

    @property
    def failing(self) -> bool:
        """Whether the last look has failed."""
        return bool(self._failure)

    def end(self) -> None:
        """Take leave: this replica is no longer to be waited for."""
        if self._told is None:
            return
        try:
            self.replicas.forget(self._transport, self.replicas.own)
        except ApiError as error:
            log.warning("Lease %s stays until it is old: %s", self.replicas.own, error)

    def _reconcile(self) -> float:
        configurations = bundles.read(self._transport) if self._wanted.manage else ()
        found = self._secret.read(self._transport)
        self._serve(found)
        if not self._wanted.manage:
            return IDLE
        self._tell()
        again = self._step(found, configurations)
        if again is not None:
            return again
        self._inject(found.kept, configurations)
        return IDLE if self._is_settled(found.kept) else SOON

    def _serve(self, found: Found) -> None:
        """Have the workers serve what the Secret holds, where that is new."""
        kept = found.kept
        pair = kept.certificate + b"\n" + kept.key if kept.certificate or kept.key else b""
        if not pair and not self._wanted.manage:
            why = "holds no certificate" if found.version else "is not there"
            raise ApiError(0, f"{why}: make it, or have tokenguard make it with --manage-certs")
        if pair and pair != self._served:
            self._replica.serve(pair)
            self._served = pair

    def _step(self, found: Found, configurations: tuple[Configuration, ...]) -> float | None:
        """Take the next step of a renewal, and return when to look at what has become of it; None: there is none."""
        kept = found.kept
        trusted = self._is_trusted(kept.bundle, configurations)
        served = len(kept.authorities) > 1 and self._is_served_everywhere(kept)
        step = next_step(kept, self._wanted.names, Arrived(trusted, served), self._now())
        if step is None:
            return None
        if not self._secret.write(self._transport, step.kept, found.version):
            return SOON
        log.info("%s: %s", self._wanted, step.why)
        return 0.0

    def _is_trusted(self, bundle: bytes, configurations: tuple[Configuration, ...]) -> bool:
        """Say whether every API server trusts this bundle: it has been in the configurations for long enough."""
        if not all(one.trusts(bundle) for one in configurations):
            self._trusted = None
            return False
        if self._trusted is None or self._trusted[0] != bundle:
            self._trusted = bundle, self._seconds()
        return self._seconds() - self._trusted[1] >= SETTLED_AFTER

    def _is_served_everywhere(self, kept: Kept) -> bool:
        """Say whether every replica that there is serves the certificate; forget those that are long gone."""
        now, serving = self._now(), kept.serving
        alive = []
        for replica in self.replicas.read(self._transport):
            if replica.is_alive(now):
                alive.append(replica)
            elif now - replica.renewed > FORGOTTEN_AFTER:
                self.replicas.forget(self._transport, replica.name)
        everybody = {replica.name for replica in alive}
        return (
            serving is not None
            and self.replicas.own in everybody
            and all(replica.serves == serving.fingerprint for replica in alive)
        )

    def _inject(self, kept: Kept, configurations: tuple[Configuration, ...]) -> None:
        for one in configurations:
            if not one.trusts(kept.bundle) and bundles.inject(self._transport, one, kept.bundle):
                log.info("%s: its caBundle is now that of %s", one, self._wanted)

    def _tell(self) -> None:
        """Say which certificate this replica serves, where that is news, or was said a while ago."""
        serving = set(self._replica.serving())
        serves = serving.pop() if len(serving) == 1 else ""
        if self._told and self._told[0] == serves and self._seconds() - self._told[1] < RENEWED_EVERY:
            return
        self.replicas.tell(self._transport, serves, self._now())
        self._told = serves, self._seconds()

    def _is_settled(self, kept: Kept) -> bool:
        """Say whether nothing is under way that this replica waits for."""
        serving = kept.serving
        serves = {serving.fingerprint} if serving else set()
        return self._trusted is not None and len(kept.authorities) == 1 and set(self._replica.serving()) == serves
