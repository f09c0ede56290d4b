"""Certificate files for administration by hand, and the patch for the webhook configurations."""

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


def generate_files(
    existing: Mapping[str, bytes], names: Iterable[str], now: dt.datetime, days: int
) -> dict[str, bytes]:
    """Return the files to write, by name: a certificate for `days`, and a CA if `existing` contains none.

    An existing CA is used again, so that clients need not be changed. Raises ValueError if it is not usable or a name
    is invalid.
    """
    made: dict[str, bytes] = {}
    if "ca.crt" in existing and "ca.key" in existing:
        ca = KeyPair(existing["ca.crt"], existing["ca.key"])
        _check(ca, now + dt.timedelta(days=days))
    elif "ca.crt" in existing or "ca.key" in existing:
        raise ValueError("only one of ca.crt and ca.key exists; both are needed to sign")
    else:
        ca = create_ca(now, dt.timedelta(days=max(CA_DAYS, 2 * days)))
        made = {"ca.crt": ca.certificate, "ca.key": ca.key}
    serving = issue_certificate(ca, names, now, dt.timedelta(days=days))
    return {
        **made,
        "tls.crt": serving.certificate,
        "tls.key": serving.key,
        "ca-bundle.yaml": ca_bundle_patch(ca.certificate),
    }


def ca_bundle_patch(bundle: bytes) -> bytes:
    """Return a patch (YAML, for kustomize) that sets `bundle` (PEM) in every webhook of both configurations."""
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


def _check(ca: KeyPair, until: dt.datetime) -> None:
    cas = parse_certificates(ca.certificate)
    if not cas:
        raise ValueError("ca.crt contains no certificate (PEM)")
    if not cas[0].can_sign:
        raise ValueError("ca.crt is not the certificate of a CA")
    try:
        load_signing_key(ca.key)
    except ValueError as error:
        raise ValueError(f"ca.key {error}") from error
    if not cas[0].matches_key(ca.key):
        raise ValueError("ca.key does not match ca.crt")
    if cas[0].not_after < until:
        raise ValueError(
            f"ca.crt expires on {cas[0].not_after:%Y-%m-%d}, before the certificate; move ca.crt and ca.key away to "
            "create a new CA, or reduce --days"
        )
