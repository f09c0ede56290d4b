"""Certificates for those who handle them by hand: the files that are made, and the patch that has them trusted."""

import base64
import datetime as dt
from collections.abc import Iterable, Mapping

import yaml

from webhook.pki.certificate import parse_certificates
from webhook.pki.issue import KeyPair, create_ca, issue_certificate, load_signing_key

CA_DAYS = 5 * 365
WEBHOOKS = {
    "MutatingWebhookConfiguration": ("pods.mutate.tokenguard.svc",),
    "ValidatingWebhookConfiguration": (
        "pods.validate.tokenguard.svc",
        "secrets.validate.tokenguard.svc",
        "tokens.validate.tokenguard.svc",
        "policy.validate.tokenguard.svc",
        "workloads.validate.tokenguard.svc",
        "large-policy.validate.tokenguard.svc",
    ),
}
"""The webhooks of each configuration, as the manifests name them."""


def generate_files(held: Mapping[str, bytes], names: Iterable[str], now: dt.datetime, days: int) -> dict[str, bytes]:
    """Return the files to write, by name: a certificate for `days`, and a CA where `held` has none to sign with.

    `held` are the files that are there already: with the same CA, nobody's trust has to change. Raises ValueError
    where the CA can't be used, or a name is neither a DNS name nor an address.
    """
    made: dict[str, bytes] = {}
    if "ca.crt" in held and "ca.key" in held:
        authority = KeyPair(held["ca.crt"], held["ca.key"])
        _check(authority, now + dt.timedelta(days=days))
    elif "ca.crt" in held or "ca.key" in held:
        raise ValueError("of ca.crt and ca.key there is only one: both are needed to sign with")
    else:
        authority = create_ca(now, dt.timedelta(days=max(CA_DAYS, 2 * days)))
        made = {"ca.crt": authority.certificate, "ca.key": authority.key}
    serving = issue_certificate(authority, names, now, dt.timedelta(days=days))
    return {
        **made,
        "tls.crt": serving.certificate,
        "tls.key": serving.key,
        "ca-bundle.yaml": ca_bundle_patch(authority.certificate),
    }


def ca_bundle_patch(bundle: bytes) -> bytes:
    """Return a patch (YAML, for kustomize) that has every webhook in both configurations trust `bundle` (PEM)."""
    encoded = base64.b64encode(bundle).decode()
    documents = [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "tokenguard"},
            "webhooks": [{"name": name, "clientConfig": {"caBundle": encoded}} for name in names],
        }
        for kind, names in WEBHOOKS.items()
    ]
    return yaml.safe_dump_all(documents, sort_keys=False).encode()


def _check(authority: KeyPair, until: dt.datetime) -> None:
    found = parse_certificates(authority.certificate)
    if not found:
        raise ValueError("ca.crt holds no certificate in PEM")
    if not found[0].can_sign:
        raise ValueError("ca.crt is the certificate of no CA: nobody would trust what it signs")
    try:
        load_signing_key(authority.key)
    except ValueError as error:
        raise ValueError(f"ca.key {error}") from error
    if not found[0].matches_key(authority.key):
        raise ValueError("ca.key is not the key to ca.crt")
    if found[0].not_after < until:
        raise ValueError(
            f"ca.crt ends on {found[0].not_after:%Y-%m-%d}, before the certificate would: move ca.crt and ca.key away "
            "for a new CA, or give fewer --days"
        )
