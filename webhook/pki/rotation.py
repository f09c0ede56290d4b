"""When certificates are renewed, and in which order, so that no API server rejects a replica.

Stored are a bundle of CAs, of which the first signs, and one serving certificate. A new CA comes in two steps:

1. It becomes the first of the bundle. The serving certificate stays as it is, and its CA remains in the bundle.
2. Once every API server trusts the bundle, the new CA signs a new serving certificate.

An old CA that tokenguard created stays in the bundle until it expires, about four months later, because nobody knows
when the last replica has loaded the new certificate. That is safe: a late replica serves a certificate whose CA is
still trusted, and the CA's only key was overwritten in step 1. Any other CA is revoked: one from elsewhere, whose key
was lost, or by request. It leaves the bundle when the replicas had time to load the new certificate.

What is stored determines the next step, so any replica may take it: `next_step` decides, and
`cluster/certificates/reconciler.py` carries it out on the Secret and the webhook configurations.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from webhook.pki.certificate import Certificate, parse_certificates
from webhook.pki.issue import KeyPair, create_ca, is_created_here, issue_certificate, load_signing_key
from webhook.pki.san import normalize_name, valid_names

MAX_CAS = 5
"""CAs in the bundle: the new one, that of the serving certificate, and three older ones. Each of them waited until the
API servers trusted it before it signed, so the certificate of the next older one was replaced a minute ago or more."""


@dataclass(frozen=True)
class StoredCertificates:
    """The bundle of CAs, the key of the first, the serving certificate (with its chain) and its key; PEM.

    `revoked` are CAs that leave the bundle as soon as no replica needs them.
    """

    bundle: bytes = b""
    ca_key: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    revoked: bytes = b""

    def __repr__(self) -> str:
        return "StoredCertificates(...)"

    @cached_property
    def cas(self) -> tuple[Certificate, ...]:
        """The CAs in the bundle; the first one signs."""
        return parse_certificates(self.bundle)

    @cached_property
    def revoked_cas(self) -> tuple[Certificate, ...]:
        """The revoked CAs that are still in the bundle."""
        revoked = {ca.pem for ca in parse_certificates(self.revoked)}
        return tuple(ca for ca in self.cas[1:] if ca.pem in revoked)

    @cached_property
    def serving(self) -> Certificate | None:
        """The serving certificate if its key matches, else None."""
        certificates = parse_certificates(self.certificate)
        return certificates[0] if certificates and certificates[0].matches_key(self.key) else None


@dataclass(frozen=True)
class RolloutProgress:
    """Whether every API server trusts the bundle, and every replica had time to load the serving certificate."""

    trusted: bool
    served: bool


@dataclass(frozen=True)
class RotationStep:
    """What to store next, and the reason, for the log."""

    stored: StoredCertificates
    reason: str


def next_step(
    stored: StoredCertificates, names: Iterable[str], progress: RolloutProgress, now: dt.datetime
) -> RotationStep | None:
    """Return the next step, or None. The serving certificate has to be for `names`: DNS names and addresses.

    It keeps names that other replicas have requested until its renewal. Raises ValueError if a name is invalid.
    """
    wanted = tuple(dict.fromkeys(map(normalize_name, names)))
    signer = _signer(stored, now)
    reason = _replace_reason(stored, wanted, now)
    if signer is None:
        step = _start(stored, wanted, now, replace_certificate=bool(reason))
        return replace(step, reason=f"no usable CA: {step.reason}")
    if reason:
        return RotationStep(_reissue(stored, signer, wanted, now), reason)
    if now >= stored.cas[0].renew_at:
        return RotationStep(add_new_ca(stored, now), "the CA expires soon: added a new CA to the bundle")
    return _renew(stored, signer, wanted, progress, now) or _remove_cas(stored, progress, now)


def add_new_ca(stored: StoredCertificates, now: dt.datetime, *, revoke: bool = False) -> StoredCertificates:
    """Return the first step to a new CA: it joins the bundle. `revoke` revokes all others, else those from elsewhere.

    The CA that signed the serving certificate stays, even if it has expired by `now`, which may be wrong. A CA that was
    added before and has signed nothing yet is replaced.
    """
    new, serving = create_ca(now), stored.serving
    signers = [ca for ca in stored.cas if serving and serving.is_signed_by(ca)]
    unused = stored.cas[:1] if signers and stored.cas[0] not in signers else ()
    others = [ca for ca in stored.cas if ca not in (*signers, *unused) and now < ca.not_after]
    old = (*signers, *others)[: MAX_CAS - 1]
    revoked = _pem(ca for ca in old if revoke or ca in stored.revoked_cas or not is_created_here(ca))
    return replace(stored, bundle=new.certificate + _pem(old), ca_key=new.key, revoked=revoked)


def start_rotation(stored: StoredCertificates, now: dt.datetime, *, ca: bool) -> RotationStep:
    """Return the first step of a rotation on request, for the names of the serving certificate.

    The CA is replaced with `ca`, or if it cannot sign: because it has expired, for example. If API servers reject the
    serving certificate, it is replaced at once.
    """
    signer, names = _signer(stored, now), _current_names(stored)
    if signer and not ca:
        return RotationStep(_reissue(stored, signer, names, now), "signed a new certificate")
    if not is_rejected(stored, now):
        return _start(stored, names, now, replace_certificate=False)
    usable = replace(stored, bundle=_pem(ca for ca in stored.cas if now < ca.not_after))
    return _start(usable, names, now, replace_certificate=True)


def is_rejected(stored: StoredCertificates, now: dt.datetime) -> bool:
    """Return whether API servers that trust the bundle reject the serving certificate, whatever it is called by."""
    return bool(_replace_reason(stored, _current_names(stored), now))


def _renew(
    stored: StoredCertificates, signer: KeyPair, wanted: tuple[str, ...], progress: RolloutProgress, now: dt.datetime
) -> RotationStep | None:
    """Return a step with a new serving certificate if it is time for one."""
    serving = stored.serving
    current = _current_names(stored)
    missing = [name for name in wanted if name not in current]
    if serving is None or (not serving.is_signed_by(stored.cas[0]) and not progress.trusted):
        return None
    names = (*current, *missing)
    if not serving.is_signed_by(stored.cas[0]):
        reason = "the new CA is trusted: it signed a new certificate"
    elif now >= serving.renew_at:
        reason, names = "the certificate expires soon: renewed", wanted
    elif missing:
        reason = f"the certificate lacks {', '.join(missing)}: renewed"
    else:
        return None
    return RotationStep(_reissue(stored, signer, names, now), reason)


def _remove_cas(stored: StoredCertificates, progress: RolloutProgress, now: dt.datetime) -> RotationStep | None:
    """Return a step without the CAs that have expired, or that are revoked and no longer needed."""
    serving, (first, *others) = stored.serving, stored.cas
    if serving is None or not serving.is_signed_by(first):
        return None
    if progress.served and (revoked := stored.revoked_cas):
        remaining = [first, *(ca for ca in others if ca not in revoked)]
        return RotationStep(
            replace(stored, bundle=_pem(remaining), revoked=b""), "removed the revoked CA from the bundle"
        )
    remaining = [first, *(ca for ca in others if now < ca.not_after)]
    if len(remaining) <= len(others):
        return RotationStep(replace(stored, bundle=_pem(remaining)), "removed an expired CA from the bundle")
    return None


def _signer(stored: StoredCertificates, now: dt.datetime) -> KeyPair | None:
    """Return the first CA if it can sign."""
    if not stored.cas:
        return None
    first = stored.cas[0]
    try:
        load_signing_key(stored.ca_key)
    except ValueError:
        return None
    usable = first.is_valid_at(now) and first.can_sign and first.matches_key(stored.ca_key)
    return KeyPair(first.pem, stored.ca_key) if usable else None


def _start(
    stored: StoredCertificates, wanted: tuple[str, ...], now: dt.datetime, *, replace_certificate: bool
) -> RotationStep:
    """Start with a new CA, and revoke all others."""
    fresh = add_new_ca(stored, now, revoke=True)
    if not replace_certificate:
        return RotationStep(fresh, "added a new CA to the bundle")
    ca = KeyPair(fresh.cas[0].pem, fresh.ca_key)
    return RotationStep(_reissue(fresh, ca, wanted, now), "created a CA and a certificate")


def _replace_reason(stored: StoredCertificates, wanted: tuple[str, ...], now: dt.datetime) -> str:
    """Return why the serving certificate must be replaced at once, or ''."""
    serving = stored.serving
    if serving is None:
        return "no certificate with a matching key"
    if not serving.is_valid_at(now):
        return "the certificate is expired or not yet valid"
    if not any(serving.is_signed_by(ca) for ca in stored.cas if ca.is_valid_at(now)):
        return "no CA in the bundle signed the certificate"
    if not set(wanted) & set(_current_names(stored)):
        return "the certificate is valid for none of the names"
    return ""


def _current_names(stored: StoredCertificates) -> tuple[str, ...]:
    return valid_names(stored.serving.names) if stored.serving else ()


def _reissue(
    stored: StoredCertificates, signer: KeyPair, names: tuple[str, ...], now: dt.datetime
) -> StoredCertificates:
    made = issue_certificate(signer, names, now)
    return replace(stored, certificate=made.certificate, key=made.key)


def _pem(cas: Iterable[Certificate]) -> bytes:
    return b"".join(ca.pem for ca in cas)
