"""How the certificates of an installation stand: what is stored, who trusts it, who serves it. For people."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from webhook.cluster.certificates import bundles
from webhook.cluster.certificates.bundles import KINDS, Configuration
from webhook.cluster.certificates.replicas import Replica, Replicas
from webhook.cluster.certificates.secret import Found, TlsSecret
from webhook.cluster.transport import Transport
from webhook.pki.certificate import Certificate, parse_certificates
from webhook.pki.rotation import StoredCertificates
from webhook.pki.verify import verification_error

_LATEST = dt.timedelta(days=10)
"""So long before its end a certificate that somebody else renews should have been, as the alert has it, too."""


@dataclass(frozen=True)
class Line:
    """What is said of one thing, and whether somebody has to do something about it."""

    text: str
    amiss: bool = False


@dataclass(frozen=True)
class Status:
    """All that was read: the Secret, the configurations that are there, the replicas that were heard of lately."""

    secret: TlsSecret
    found: Found
    configurations: tuple[Configuration, ...]
    replicas: tuple[Replica, ...]

    @property
    def stored(self) -> StoredCertificates:
        """What the Secret holds."""
        return self.found.stored

    @property
    def under_way(self) -> str:
        """What a rotation waits for, in a few words; empty where none is under way."""
        serving, authorities = self.stored.serving, self.stored.cas
        if serving is None or not authorities:
            return "there is no certificate"
        if not all(one.trusts(self.stored.bundle) for one in self.configurations):
            return "the webhook configurations don't have the bundle yet"
        if not serving.is_signed_by(authorities[0]):
            return "the new CA is in the bundle; every API server has to learn of it"
        behind = [one.name for one in self.replicas if one.serves != serving.fingerprint]
        if behind:
            return f"the new certificate is not served yet by {', '.join(behind)}"
        return "the old CA has to leave the bundle" if len(authorities) > 1 else ""

    @property
    def arrived(self) -> str:
        """How far a rotation that is over has come, in a few words: where nobody serves or trusts, that is not far."""
        count, kinds = len(self.replicas), [str(one) for one in self.configurations]
        served = f"{count} replica(s) serve the new certificate" if count else "no replica has been heard of lately"
        return f"{served}; {' and '.join(kinds) or 'no webhook configuration'} {'trust' if kinds[1:] else 'trusts'} it"

    def lines(self, now: dt.datetime) -> Iterator[Line]:
        """Yield what there is to say."""
        where = f"Secret {self.secret.namespace}/{self.secret.name}"
        chain = parse_certificates(self.stored.certificate)
        if not chain:
            yield Line(f"{where} holds no certificate, or is not there", amiss=True)
            return
        serving = chain[0]
        yield Line(f"certificate in {where}")
        if not serving.matches_key(self.stored.key):
            yield Line("  its key doesn't belong to it", amiss=True)
        yield Line(f"  issuer       {serving.issuer}")
        yield Line(f"  names        {', '.join(serving.names)}")
        yield Line(f"  fingerprint  {serving.fingerprint}")
        managed = bool(self.stored.ca_key)
        yield _validity(serving, now, managed=managed)
        for authority in self.stored.cas:
            yield Line(f"CA {authority.subject}")
            yield _validity(authority, now, managed=managed)
        missing = set(KINDS) - {one.kind for one in self.configurations}
        for kind in sorted(missing):
            yield Line(f"{kind}/{bundles.NAME} is not there: no API server asks this webhook", amiss=True)
        for one in self.configurations:
            refused = list(_refused(one, "it", chain, now))
            yield from refused or [Line(f"{one} trusts it ({len(one.webhooks)} webhooks)")]
        for replica in self.replicas:
            serves = replica.serves == serving.fingerprint
            yield Line(f"replica {replica.name} {'serves it' if serves else 'serves another one'}", amiss=not serves)

    def lines_about(self, server: str, chain: tuple[Certificate, ...], now: dt.datetime) -> Iterator[Line]:
        """Yield what there is to say about a server that was asked, and has shown this chain."""
        held = parse_certificates(self.stored.certificate)
        same = [one.fingerprint for one in held] == [one.fingerprint for one in chain]
        yield Line(f"{server} serves {'it' if same else f'another one: {chain[0].fingerprint}'}", amiss=not same)
        for one in () if same else self.configurations:
            yield from _refused(one, f"what {server} serves", chain, now)


def read_status(transport: Transport, secret: TlsSecret, now: dt.datetime) -> Status:
    """Ask the API server for all of it. Raises `ApiError`."""
    replicas = Replicas(secret.namespace).read(transport)
    alive = tuple(replica for replica in replicas if replica.is_alive(now))
    return Status(secret, secret.read(transport), bundles.read(transport), alive)


def _refused(one: Configuration, what: str, chain: tuple[Certificate, ...], now: dt.datetime) -> Iterator[Line]:
    """Yield why an API server would refuse this chain when it calls each of these webhooks."""
    for webhook, called in one.webhooks.items():
        why = verification_error(chain, called.bundle, called.host, now)
        if why:
            yield Line(f"{one} does not trust {what}: caBundle of {webhook}: {why}", amiss=True)


def _validity(one: Certificate, now: dt.datetime, *, managed: bool) -> Line:
    """Say until when it is valid; `managed`: by tokenguard, which renews it early."""
    left = one.not_after - now
    until = f"  valid until  {one.not_after:%Y-%m-%d %H:%M} UTC"
    if now >= one.not_after:
        return Line(f"{until}: it has ended", amiss=True)
    if now < one.not_before:
        return Line(f"  valid from   {one.not_before:%Y-%m-%d %H:%M} UTC: it has not begun", amiss=True)
    due = one.renew_at if managed else max(one.renew_at, one.not_after - _LATEST)
    overdue = now >= due
    hint = "it should have been renewed" if overdue else f"to be renewed on {due:%Y-%m-%d}"
    return Line(f"{until}, {left.days} days left; {hint}", amiss=overdue)
