"""The state of an installation's certificates: what is stored, and who trusts it."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from webhook.cluster.api_types import ApiObject, Page
from webhook.cluster.certificates.ca_bundle import KINDS, NAME, WebhookConfiguration, read_configurations
from webhook.cluster.certificates.tls_secret import SecretVersion, TlsSecret
from webhook.cluster.transport import ApiError, Transport
from webhook.core.formatting import counted
from webhook.pki.certificate import Certificate, parse_certificates
from webhook.pki.rotation import StoredCertificates
from webhook.pki.verify import verification_error

UNAUTHORIZED = 401
_RENEWAL_MARGIN = dt.timedelta(days=10)
"""When a certificate that tokenguard does not manage should have been renewed; the alert uses the same margin."""


class _Conditions(msgspec.Struct):
    ready: bool | None = None


class _Endpoint(msgspec.Struct):
    addresses: list[str]
    conditions: _Conditions = msgspec.field(default_factory=_Conditions)


class _EndpointSlice(ApiObject):
    endpoints: list[_Endpoint] | None = None


@dataclass(frozen=True)
class StatusLine:
    """One statement, and whether it is a problem."""

    text: str
    is_problem: bool = False


@dataclass(frozen=True)
class CertificateStatus:
    """The Secret and the existing webhook configurations.

    `endpoints` is how many ready pods each Service of the configurations has, or why they could not be read.
    """

    secret: TlsSecret
    current: SecretVersion
    configurations: tuple[WebhookConfiguration, ...]
    endpoints: Mapping[str, int | ApiError] = field(default_factory=dict)

    @property
    def stored(self) -> StoredCertificates:
        """The content of the Secret."""
        return self.current.stored

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
        if self.stored.revoked_cas:
            return "the old CA is removed when the replicas have loaded the new certificate"
        return ""

    @property
    def trusted_cas(self) -> set[str]:
        """The fingerprints of the CAs in the Secret and in the configurations."""
        webhooks = (webhook for configuration in self.configurations for webhook in configuration.webhooks.values())
        bundles = {self.stored.bundle, *(webhook.bundle for webhook in webhooks)}
        return {ca.fingerprint for bundle in bundles for ca in parse_certificates(bundle)}

    @property
    def rollout(self) -> str:
        """Who trusts the certificate after a rotation."""
        trusting = [str(configuration) for configuration in self.configurations] or ["no webhook configuration"]
        return f"{' and '.join(trusting)} {'trust' if trusting[1:] else 'trusts'} the certificate"

    def lines(self, now: dt.datetime) -> Iterator[StatusLine]:
        """Yield the status."""
        chain = parse_certificates(self.stored.certificate)
        if not chain:
            yield StatusLine(f"{self.secret} does not exist or contains no certificate", is_problem=True)
            return
        serving = chain[0]
        yield StatusLine(f"certificate in {self.secret}")
        if not serving.matches_key(self.stored.key):
            yield StatusLine("  the key does not match the certificate", is_problem=True)
        yield StatusLine(f"  issuer       {serving.issuer}")
        yield StatusLine(f"  names        {', '.join(serving.names)}")
        yield StatusLine(f"  fingerprint  {serving.fingerprint}")
        managed = bool(self.stored.ca_key)
        yield _validity(serving, now, managed=managed)
        for number, ca in enumerate(self.stored.cas):
            is_old = managed and number > 0
            yield StatusLine(f"{'old CA' if is_old else 'CA'} {ca.subject}")
            yield _validity(ca, now, managed=managed, is_renewed=is_old)
        for kind in sorted(set(KINDS) - {configuration.kind for configuration in self.configurations}):
            yield StatusLine(f"{kind}/{NAME} does not exist: no API server calls this webhook", is_problem=True)
        for configuration in self.configurations:
            problems = list(_trust_problems(configuration, "the certificate", chain, now))
            webhooks = counted(len(configuration.webhooks), "webhook")
            yield from problems or [StatusLine(f"{configuration} trusts the certificate ({webhooks})")]
        yield from self._server_lines()

    def _server_lines(self) -> Iterator[StatusLine]:
        """Yield how many pods serve the certificate."""
        for service, ready in self.endpoints.items():
            if isinstance(ready, ApiError):
                yield StatusLine(f"Service {service}: its pods could not be read: {ready}")
            elif ready:
                yield StatusLine(f"Service {service}: served by {counted(ready, 'ready pod')}")
            else:
                yield StatusLine(f"Service {service} has no ready pod: nobody serves the certificate", is_problem=True)

    def lines_about(self, server: str, chain: tuple[Certificate, ...], now: dt.datetime) -> Iterator[StatusLine]:
        """Yield the status of a server that presented this chain."""
        stored = parse_certificates(self.stored.certificate)
        is_same = [part.fingerprint for part in stored] == [part.fingerprint for part in chain]
        which = "the certificate" if is_same else f"another certificate: {chain[0].fingerprint}"
        yield StatusLine(f"{server} serves {which}", is_problem=not is_same)
        for configuration in () if is_same else self.configurations:
            yield from _trust_problems(configuration, f"the certificate of {server}", chain, now)


def read_status(transport: Transport, secret: TlsSecret) -> CertificateStatus:
    """Read the status from the API server. Raises `ApiError`."""
    return CertificateStatus(secret, secret.read(transport), read_configurations(transport))


def read_full_status(transport: Transport, secret: TlsSecret) -> CertificateStatus:
    """Read the status, and who serves the certificate. Raises `ApiError`."""
    status = read_status(transport, secret)
    webhooks = (webhook for configuration in status.configurations for webhook in configuration.webhooks.values())
    services = {webhook.service for webhook in webhooks if webhook.service}
    return replace(
        status, endpoints={"/".join(service): _ready_pods(transport, *service) for service in sorted(services)}
    )


def _ready_pods(transport: Transport, namespace: str, service: str) -> int | ApiError:
    """Return how many ready endpoints a Service has, or why that could not be read."""
    query = {"labelSelector": f"kubernetes.io/service-name={service}"}
    try:
        body = transport.get(
            f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices", query, "application/json"
        )
        slices = msgspec.json.decode(body, type=Page[_EndpointSlice]).items or []
    except msgspec.DecodeError:
        return ApiError(0, "cannot decode the API server's answer")
    except ApiError as error:
        if error.unreachable or error.status == UNAUTHORIZED:
            raise
        return error
    endpoints = {
        tuple(endpoint.addresses): endpoint for endpoint_slice in slices for endpoint in endpoint_slice.endpoints or ()
    }
    return sum(endpoint.conditions.ready is not False for endpoint in endpoints.values())


def _trust_problems(
    configuration: WebhookConfiguration, what: str, chain: tuple[Certificate, ...], now: dt.datetime
) -> Iterator[StatusLine]:
    """Yield why an API server would reject this chain when it calls each of the webhooks."""
    for name, webhook in configuration.webhooks.items():
        reason = verification_error(chain, webhook.bundle, webhook.host, now)
        if reason:
            text = f"{configuration} does not trust {what}: caBundle of {name}: {reason}"
            yield StatusLine(text, is_problem=True)


def _validity(certificate: Certificate, now: dt.datetime, *, managed: bool, is_renewed: bool = False) -> StatusLine:
    """Return until when it is valid. Tokenguard renews `managed` ones early; `is_renewed` ones only expire."""
    until = f"  valid until  {certificate.not_after:%Y-%m-%d %H:%M} UTC"
    if now >= certificate.not_after:
        return StatusLine(f"{until}: expired", is_problem=not is_renewed)
    if now < certificate.not_before:
        return StatusLine(f"  valid from   {certificate.not_before:%Y-%m-%d %H:%M} UTC: not valid yet", is_problem=True)
    days = f"{until} ({counted((certificate.not_after - now).days, 'day')} left)"
    if is_renewed:
        return StatusLine(f"{days}, then removed")
    due = certificate.renew_at if managed else max(certificate.renew_at, certificate.not_after - _RENEWAL_MARGIN)
    renewal = "renewal overdue since" if now >= due else "renewal on"
    return StatusLine(f"{days}, {renewal} {due:%Y-%m-%d}", is_problem=now >= due)
