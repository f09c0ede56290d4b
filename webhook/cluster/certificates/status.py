"""The state of an installation's certificates: what is stored, who trusts it, who serves it."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from webhook.cluster.certificates import ca_bundle
from webhook.cluster.certificates.ca_bundle import KINDS, WebhookConfiguration
from webhook.cluster.certificates.replicas import Replica, Replicas
from webhook.cluster.certificates.tls_secret import SecretVersion, TlsSecret
from webhook.cluster.transport import Transport
from webhook.core.formatting import counted
from webhook.pki.certificate import Certificate, parse_certificates
from webhook.pki.rotation import StoredCertificates
from webhook.pki.verify import verification_error

_RENEWAL_MARGIN = dt.timedelta(days=10)
"""When a certificate that tokenguard does not manage should have been renewed; the alert uses the same margin."""


@dataclass(frozen=True)
class StatusLine:
    """One statement, and whether it is a problem."""

    text: str
    is_problem: bool = False


@dataclass(frozen=True)
class CertificateStatus:
    """The Secret, the existing webhook configurations, and the active replicas."""

    secret: TlsSecret
    found: SecretVersion
    configurations: tuple[WebhookConfiguration, ...]
    replicas: tuple[Replica, ...]

    @property
    def stored(self) -> StoredCertificates:
        """The content of the Secret."""
        return self.found.stored

    @property
    def pending_step(self) -> str:
        """What a rotation waits for; empty if none is in progress."""
        serving, cas = self.stored.serving, self.stored.cas
        if serving is None or not cas:
            return "no certificate"
        if not all(configuration.trusts(self.stored.bundle) for configuration in self.configurations):
            return "the webhook configurations do not contain the new bundle yet"
        if not serving.is_signed_by(cas[0]):
            return "the new CA signs as soon as every API server trusts it"
        behind = [replica.name for replica in self.replicas if replica.serves != serving.fingerprint]
        if behind:
            return f"the new certificate is not served yet by {', '.join(behind)}"
        return "the old CA is still in the bundle" if len(cas) > 1 else ""

    @property
    def rollout(self) -> str:
        """Who serves and trusts the new certificate after a rotation."""
        count, kinds = len(self.replicas), [str(configuration) for configuration in self.configurations]
        serve = "serves" if count == 1 else "serve"
        served = f"{counted(count, 'replica')} {serve} the new certificate" if count else "no active replica"
        return f"{served}; {' and '.join(kinds) or 'no webhook configuration'} {'trust' if kinds[1:] else 'trusts'} it"

    def lines(self, now: dt.datetime) -> Iterator[StatusLine]:
        """Yield the status."""
        where = f"Secret {self.secret.namespace}/{self.secret.name}"
        chain = parse_certificates(self.stored.certificate)
        if not chain:
            yield StatusLine(f"{where} does not exist or contains no certificate", is_problem=True)
            return
        serving = chain[0]
        yield StatusLine(f"certificate in {where}")
        if not serving.matches_key(self.stored.key):
            yield StatusLine("  the key does not match the certificate", is_problem=True)
        yield StatusLine(f"  issuer       {serving.issuer}")
        yield StatusLine(f"  names        {', '.join(serving.names)}")
        yield StatusLine(f"  fingerprint  {serving.fingerprint}")
        managed = bool(self.stored.ca_key)
        yield _validity(serving, now, managed=managed)
        for ca in self.stored.cas:
            yield StatusLine(f"CA {ca.subject}")
            yield _validity(ca, now, managed=managed)
        for kind in sorted(set(KINDS) - {configuration.kind for configuration in self.configurations}):
            text = f"{kind}/{ca_bundle.NAME} does not exist: no API server calls this webhook"
            yield StatusLine(text, is_problem=True)
        for configuration in self.configurations:
            problems = list(_trust_problems(configuration, "the certificate", chain, now))
            webhooks = counted(len(configuration.webhooks), "webhook")
            yield from problems or [StatusLine(f"{configuration} trusts the certificate ({webhooks})")]
        for replica in self.replicas:
            is_current = replica.serves == serving.fingerprint
            which = "the certificate" if is_current else "another certificate"
            yield StatusLine(f"replica {replica.name} serves {which}", is_problem=not is_current)

    def lines_about(self, server: str, chain: tuple[Certificate, ...], now: dt.datetime) -> Iterator[StatusLine]:
        """Yield the status of a server that presented this chain."""
        stored = parse_certificates(self.stored.certificate)
        is_same = [one.fingerprint for one in stored] == [one.fingerprint for one in chain]
        which = "the certificate" if is_same else f"another certificate: {chain[0].fingerprint}"
        yield StatusLine(f"{server} serves {which}", is_problem=not is_same)
        for configuration in () if is_same else self.configurations:
            yield from _trust_problems(configuration, f"the certificate of {server}", chain, now)


def read_status(transport: Transport, secret: TlsSecret, now: dt.datetime) -> CertificateStatus:
    """Read the status from the API server. Raises `ApiError`."""
    replicas = Replicas(secret.namespace).read(transport)
    alive = tuple(replica for replica in replicas if replica.is_alive(now))
    return CertificateStatus(secret, secret.read(transport), ca_bundle.read(transport), alive)


def _trust_problems(
    configuration: WebhookConfiguration, what: str, chain: tuple[Certificate, ...], now: dt.datetime
) -> Iterator[StatusLine]:
    """Yield why an API server would reject this chain when it calls each of the webhooks."""
    for webhook, called in configuration.webhooks.items():
        reason = verification_error(chain, called.bundle, called.host, now)
        if reason:
            text = f"{configuration} does not trust {what}: caBundle of {webhook}: {reason}"
            yield StatusLine(text, is_problem=True)


def _validity(certificate: Certificate, now: dt.datetime, *, managed: bool) -> StatusLine:
    """Return until when it is valid. Tokenguard renews `managed` ones early."""
    until = f"  valid until  {certificate.not_after:%Y-%m-%d %H:%M} UTC"
    if now >= certificate.not_after:
        return StatusLine(f"{until}: expired", is_problem=True)
    if now < certificate.not_before:
        return StatusLine(f"  valid from   {certificate.not_before:%Y-%m-%d %H:%M} UTC: not valid yet", is_problem=True)
    due = certificate.renew_at if managed else max(certificate.renew_at, certificate.not_after - _RENEWAL_MARGIN)
    renewal = "renewal overdue since" if now >= due else "renewal on"
    days = counted((certificate.not_after - now).days, "day")
    return StatusLine(f"{until} ({days} left), {renewal} {due:%Y-%m-%d}", is_problem=now >= due)
