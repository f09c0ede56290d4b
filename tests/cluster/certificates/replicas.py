"""Replicas that keep certificates together, on a clock of the test's own."""

import datetime as dt
from collections.abc import Collection

import pytest

from tests.cluster.certificates.api import Api
from webhook.cluster.certificates.reconciler import (
    IDLE,
    CertificateSpec,
    Clock,
    Reconciler,
    ServedCertificate,
)
from webhook.cluster.certificates.tls_secret import TlsSecret
from webhook.pki.certificate import parse_certificates

NAME = "tokenguard.tokenguard.svc"
WHERE = TlsSecret("tokenguard/tokenguard-tls")
NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


class SimulatedTime:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @property
    def now(self) -> dt.datetime:
        return NOW + dt.timedelta(seconds=self.seconds)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda: self.seconds)


class SimulatedReplica:
    """A replica: what it was given to serve, and what it serves, which may lag behind."""

    def __init__(self, api: Api, time: SimulatedTime, *, manage: bool = True, names: Collection[str] = (NAME,)) -> None:
        self.given = self.serves = b""
        served = ServedCertificate(self._give, lambda: self.given, self._fingerprint)
        self.reconciler = Reconciler(api, CertificateSpec(WHERE, names, manage), served, time.clock)

    def look(self) -> float:
        return self.reconciler.reconcile()

    def catch_up(self) -> None:
        self.serves = self.given

    def _give(self, pair: bytes) -> None:
        self.given = pair

    def _fingerprint(self) -> str:
        return next((certificate.fingerprint for certificate in parse_certificates(self.serves)), "")


def settle(time: SimulatedTime, *nodes: SimulatedReplica) -> None:
    """Let all happen that will happen by itself, within ten minutes."""
    for _ in range(600):
        delays = [node.look() for node in nodes]
        for node in nodes:
            node.catch_up()
        if min(delays) == IDLE:
            return
        time.seconds += 1
    pytest.fail("it never settles")
