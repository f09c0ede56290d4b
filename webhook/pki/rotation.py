"""When certificates are renewed, and in which order, so that no client that trusts the bundle rejects a server.

Stored are a bundle of CAs, of which the first signs, and one serving certificate. A new CA comes in three steps, each
of which waits until the one before has taken effect everywhere:

1. the new CA becomes the first of the bundle, while the serving certificate stays as it is;
2. once every client trusts the bundle, the new CA signs a new serving certificate;
3. once every server serves that, the old CA is removed from the bundle.

What is stored determines the next step, so any replica may take it.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace

from webhook.pki.certificate import Certificate, parse_certificates
from webhook.pki.issue import KeyPair, create_ca, issue_certificate, load_signing_key
from webhook.pki.san import normalize_name, valid_names


@dataclass(frozen=True)
class StoredCertificates:
    """The bundle of CAs, the key of the first, and the serving certificate (with its chain) and its key; PEM."""

    bundle: bytes = b""
    ca_key: bytes = b""
    certificate: bytes = b""
    key: bytes = b""

    def __repr__(self) -> str:
        return "StoredCertificates(...)"

    @property
    def cas(self) -> tuple[Certificate, ...]:
        """The CAs in the bundle; the first one signs."""
        return parse_certificates(self.bundle)

    @property
    def serving(self) -> Certificate | None:
        """The serving certificate if its key matches, else None."""
        found = parse_certificates(self.certificate)
        return found[0] if found and found[0].matches_key(self.key) else None


@dataclass(frozen=True)
class RolloutProgress:
    """Whether every client trusts the bundle, and every server serves the certificate."""

    trusted: bool
    served: bool


@dataclass(frozen=True)
class RotationStep:
    """What to store next, and the reason, for the log."""

    stored: StoredCertificates
    reason: str


@dataclass(frozen=True)
class RequestedNames:
    """The DNS names and addresses for a serving certificate.

    A certificate that lacks one of `own` is replaced. `others` are included in a new certificate, but are no reason for
    one: replicas with different names don't replace each other's certificates, and unused names disappear with the next
    one.
    """

    own: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """All names, each once. Raises ValueError if one of `own` is invalid."""
        return tuple(dict.fromkeys((*map(normalize_name, self.own), *valid_names(self.others))))

    def missing(self, serving: Certificate) -> tuple[str, ...]:
        """Return the names of `own` that a certificate lacks."""
        there = valid_names(serving.names)
        return tuple(name for name in map(normalize_name, self.own) if name not in there)


def next_step(
    stored: StoredCertificates, wanted: RequestedNames, progress: RolloutProgress, now: dt.datetime
) -> RotationStep | None:
    """Return the next step, or None. Raises ValueError as `RequestedNames` does."""
    signer = _signer(stored, now)
    if signer is None:
        return _start(stored, wanted, now)
    reason = _replace_reason(stored, wanted, now)
    if reason:
        return RotationStep(_reissue(stored, signer, wanted, now), reason)
    if now >= stored.cas[0].renew_at:
        return RotationStep(add_new_ca(stored, now), "the CA expires soon: added a new CA to the bundle")
    return _continue(stored, signer, wanted, progress, now)


def add_new_ca(stored: StoredCertificates, now: dt.datetime) -> StoredCertificates:
    """Return the first step to a new CA: the CA is added to the bundle."""
    new = create_ca(now)
    valid = b"".join(ca.pem for ca in stored.cas if ca.is_valid_at(now))
    return replace(stored, bundle=new.certificate + valid, ca_key=new.key)


def sign_new_certificate(
    stored: StoredCertificates, names: Iterable[str], now: dt.datetime
) -> StoredCertificates | None:
    """Return a new serving certificate, signed by the current CA; None if that cannot sign."""
    signer = _signer(stored, now)
    return _reissue(stored, signer, RequestedNames(tuple(names)), now) if signer else None


def _continue(
    stored: StoredCertificates, signer: KeyPair, wanted: RequestedNames, progress: RolloutProgress, now: dt.datetime
) -> RotationStep | None:
    """Return the next step if CA and serving certificate are both usable."""
    serving, (first, *others) = stored.serving, stored.cas
    if serving is None:
        return None
    is_own = serving.is_signed_by(first)
    missing = wanted.missing(serving)
    if not is_own and not progress.trusted:
        return None
    if not is_own:
        reason = "the new CA is trusted: it signed a new certificate"
    elif now >= serving.renew_at:
        reason = "the certificate expires soon: renewed"
    elif missing:
        reason = f"the certificate lacks {', '.join(missing)}: renewed"
    else:
        reason = ""
    if reason:
        return RotationStep(_reissue(stored, signer, wanted, now), reason)
    if others and progress.served:
        return RotationStep(
            replace(stored, bundle=first.pem), "every replica serves the new certificate: removed the old CA"
        )
    valid = [ca for ca in (first, *others) if ca.is_valid_at(now)]
    if len(valid) <= len(others):
        return RotationStep(
            replace(stored, bundle=b"".join(ca.pem for ca in valid)), "removed an expired CA from the bundle"
        )
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


def _start(stored: StoredCertificates, wanted: RequestedNames, now: dt.datetime) -> RotationStep:
    """Start with a new CA; keep a serving certificate that is still usable."""
    fresh = add_new_ca(stored, now)
    if not _replace_reason(stored, wanted, now):
        return RotationStep(fresh, "the CA cannot sign, or its key is lost: added a new CA to the bundle")
    ca = KeyPair(fresh.cas[0].pem, fresh.ca_key)
    return RotationStep(_reissue(fresh, ca, wanted, now), "no usable CA: created a CA and a certificate")


def _replace_reason(stored: StoredCertificates, wanted: RequestedNames, now: dt.datetime) -> str:
    """Return why the serving certificate must be replaced at once, or ''."""
    serving = stored.serving
    if serving is None:
        return "no certificate with a matching key"
    if not serving.is_valid_at(now):
        return "the certificate is expired or not yet valid"
    if not any(serving.is_signed_by(ca) for ca in stored.cas if ca.is_valid_at(now)):
        return "no CA in the bundle signed the certificate"
    if len(wanted.missing(serving)) == len(wanted.own):
        return "the certificate is valid for none of the names"
    return ""


def _reissue(
    stored: StoredCertificates, signer: KeyPair, wanted: RequestedNames, now: dt.datetime
) -> StoredCertificates:
    made = issue_certificate(signer, wanted.all, now)
    return replace(stored, certificate=made.certificate, key=made.key)
