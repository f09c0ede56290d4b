"""Whether the serving certificate is valid, and whether the API server trusts it."""

import datetime as dt
from collections.abc import Iterator

from webhook.core.cluster_state import DEFAULT_NAMESPACE
from webhook.pki.certificate import Certificate, parse_certificates
from webhook.pki.verify import verification_error
from webhook.status.facts import CertificateFacts, ClusterFacts, ConfigurationFacts, NotRead, ReplicaFacts
from webhook.status.report import StatusProblem, StatusRow, build_row, unread_row
from webhook.status.webhooks import names_of

_RENEWAL_MARGIN = dt.timedelta(days=9)


def certificate_row(facts: ClusterFacts) -> StatusRow:
    """Return the row of the serving certificate, and of who trusts it."""
    stored, name, secret = facts.certificate, "certificate", f"Secret {facts.namespace}/tokenguard-tls"
    if isinstance(stored, NotRead):
        return _certificate_of_replicas(facts, stored)
    chain = parse_certificates(stored.chain) if stored else ()
    if stored is None or not chain:
        return build_row(name, "none", (_missing_certificate(facts, secret),))
    expiry = chain[0].not_after
    problems = [*_validity_problems(facts, stored, chain[0], secret), *_trust_problems(facts, chain)]
    return build_row(name, f"valid until {expiry:%Y-%m-%d %H:%M} UTC", tuple(problems))


def _missing_certificate(facts: ClusterFacts, secret: str) -> StatusProblem:
    text = f"{secret} does not exist or contains no certificate"
    if not facts.replicas:
        return StatusProblem(text, facts.install_command, depends_on=("replicas",))
    if facts.manages_certificates:
        return StatusProblem(text, facts.certificate_fix, depends_on=("replicas",))
    return StatusProblem(text, f"kubectl describe certificate -n {facts.namespace}, or create it: docs/certificates.md")


def _validity_problems(
    facts: ClusterFacts, stored: CertificateFacts, certificate: Certificate, secret: str
) -> Iterator[StatusProblem]:
    own = f" --own-namespace {facts.namespace}" if facts.namespace != DEFAULT_NAMESPACE else ""
    fix = (
        f"tokenguard certs rotate{own}"
        if stored.is_managed
        else f"cmctl renew -n {facts.namespace} tokenguard, or renew it where you issued it"
    )
    expiry = certificate.not_after
    if facts.now >= expiry:
        yield StatusProblem(f"the certificate in {secret} expired on {expiry:%Y-%m-%d %H:%M} UTC", fix)
    elif facts.now < certificate.not_before:
        yield StatusProblem(
            f"the certificate in {secret} is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC", fix
        )
    elif facts.now >= expiry - _RENEWAL_MARGIN:
        yield StatusProblem(f"the certificate in {secret} expires on {expiry:%Y-%m-%d %H:%M} UTC", fix, is_note=True)


def _trust_problems(facts: ClusterFacts, chain: tuple[Certificate, ...]) -> Iterator[StatusProblem]:
    """Yield the caBundles that do not match; those of an expired certificate are compared at a time within validity."""
    time = min(max(facts.now, chain[0].not_before), chain[0].not_after - dt.timedelta(seconds=1))
    for configuration in facts.configurations.values():
        if not isinstance(configuration, ConfigurationFacts):
            continue
        names: dict[str, list[str]] = {}
        for webhook in configuration.webhooks.values():
            reason = webhook.bundle and verification_error(chain, webhook.bundle, webhook.host, time)
            if reason:
                names.setdefault(reason, []).append(webhook.name)
        for reason, webhooks in names.items():
            text = f"{configuration}: caBundle of {names_of(webhooks)} does not match the certificate: {reason}"
            yield StatusProblem(
                text, facts.certificate_fix, depends_on=("replicas",) if facts.manages_certificates else ()
            )


def _certificate_of_replicas(facts: ClusterFacts, unread: NotRead) -> StatusRow:
    """Return the row if the Secret could not be read: what the replicas say of the certificate that they serve."""
    replicas = facts.replicas.metrics.values() if isinstance(facts.replicas, ReplicaFacts) else ()
    expiries = [metrics.certificate_expiry for metrics in replicas if metrics.certificate_expiry]
    if not expiries:
        return unread_row("certificate", unread.reason)
    expiry = min(expiries)
    summary = f"valid until {expiry:%Y-%m-%d %H:%M} UTC, says a replica; Secret not read: {unread.reason}"
    if facts.now < expiry:
        return build_row("certificate", summary)
    text = f"a replica serves a certificate that expired on {expiry:%Y-%m-%d %H:%M} UTC"
    return build_row("certificate", summary, (StatusProblem(text, "tokenguard certs status"),))
