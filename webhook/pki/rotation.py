"""When certificates are renewed, and in which order, so that whoever trusts the bundle never meets a stranger.

What is stored is a bundle of authorities, of which the first signs, and one serving certificate. A new authority comes
in three steps, and each waits until the one before has arrived everywhere:

1. the new authority joins the bundle, as its first, while the serving certificate stays as it is;
2. once every client trusts the bundle, the new authority signs a new serving certificate;
3. once every server serves that, the old authority leaves the bundle.

Each step can be read off what is stored, so anybody may take the next one, whoever took the last.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace

from webhook.pki.certificate import Certificate, parse_certificates
from webhook.pki.issue import KeyPair, create_ca, issue_certificate, load_signing_key
from webhook.pki.san import normalize_name, valid_names


@dataclass(frozen=True)
class StoredCertificates:
    """The authorities' certificates (the first one's key is `ca_key`), and what is served. PEM, all of it."""

    bundle: bytes = b""
    ca_key: bytes = b""
    certificate: bytes = b""
    key: bytes = b""

    def __repr__(self) -> str:
        return "StoredCertificates(...)"

    @property
    def cas(self) -> tuple[Certificate, ...]:
        """The certificates in the bundle; the first one signs."""
        return parse_certificates(self.bundle)

    @property
    def serving(self) -> Certificate | None:
        """The certificate that is served, where there is one to which the key belongs."""
        found = parse_certificates(self.certificate)
        return found[0] if found and found[0].matches_key(self.key) else None


@dataclass(frozen=True)
class RolloutProgress:
    """How far the last step has come: every client trusts the bundle, every server serves the certificate."""

    trusted: bool
    served: bool


@dataclass(frozen=True)
class RotationStep:
    """What is to be stored from now on, and why, in a few words for a log."""

    stored: StoredCertificates
    reason: str


@dataclass(frozen=True)
class RequestedNames:
    """The DNS names and addresses that a certificate is to be for.

    `own` must be in it, or a new one is signed. `others` are put in whenever one is signed, and by themselves are no
    reason to: so replicas that ask for different names never sign against each other, and a name that nobody asks for
    any more is gone with the next certificate.
    """

    own: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """All of them, each once. Raises ValueError where one of `own` is neither."""
        return tuple(dict.fromkeys((*map(normalize_name, self.own), *valid_names(self.others))))

    def missing(self, serving: Certificate) -> tuple[str, ...]:
        """Return which of `own` a certificate lacks."""
        there = valid_names(serving.names)
        return tuple(name for name in map(normalize_name, self.own) if name not in there)


def next_step(
    stored: StoredCertificates, wanted: RequestedNames, progress: RolloutProgress, now: dt.datetime
) -> RotationStep | None:
    """Return the next step, or None where there is nothing to do. Raises ValueError as `RequestedNames` does."""
    signer = _signer(stored, now)
    if signer is None:
        return _begun(stored, wanted, now)
    reason = _unusable(stored, wanted, now)
    if reason:
        return RotationStep(_reissued(stored, signer, wanted, now), reason)
    if now >= stored.cas[0].renew_at:
        return RotationStep(add_new_ca(stored, now), "the CA is near its end: a new one joins the bundle")
    return _onward(stored, signer, wanted, progress, now)


def add_new_ca(stored: StoredCertificates, now: dt.datetime) -> StoredCertificates:
    """Take the first step to a new authority."""
    authority = create_ca(now)
    old = b"".join(one.pem for one in stored.cas if one.is_valid_at(now))
    return replace(stored, bundle=authority.certificate + old, ca_key=authority.key)


def sign_new_certificate(
    stored: StoredCertificates, names: Iterable[str], now: dt.datetime
) -> StoredCertificates | None:
    """Have the authority in force sign a new serving certificate; None where there is none that can."""
    signer = _signer(stored, now)
    return _reissued(stored, signer, RequestedNames(tuple(names)), now) if signer else None


def _onward(
    stored: StoredCertificates, signer: KeyPair, wanted: RequestedNames, progress: RolloutProgress, now: dt.datetime
) -> RotationStep | None:
    """Return the next step where the authority and the serving certificate are both good."""
    serving, (first, *others) = stored.serving, stored.cas
    if serving is None:
        return None
    own = serving.is_signed_by(first)
    missing = wanted.missing(serving)
    if not own and not progress.trusted:
        return None
    if not own:
        reason = "the new CA is trusted: it signs the certificate"
    elif now >= serving.renew_at:
        reason = "the certificate is near its end"
    elif missing:
        reason = f"the certificate lacks {', '.join(missing)}"
    else:
        reason = ""
    if reason:
        return RotationStep(_reissued(stored, signer, wanted, now), reason)
    if others and progress.served:
        return RotationStep(
            replace(stored, bundle=first.pem), "every replica serves the new certificate: the old CA leaves"
        )
    valid = [one for one in (first, *others) if one.is_valid_at(now)]
    if len(valid) <= len(others):
        return RotationStep(replace(stored, bundle=b"".join(one.pem for one in valid)), "a CA in the bundle has ended")
    return None


def _signer(stored: StoredCertificates, now: dt.datetime) -> KeyPair | None:
    """Return the authority that can sign now, if there is one."""
    if not stored.cas:
        return None
    first = stored.cas[0]
    try:
        load_signing_key(stored.ca_key)
    except ValueError:
        return None
    usable = first.is_valid_at(now) and first.can_sign and first.matches_key(stored.ca_key)
    return KeyPair(first.pem, stored.ca_key) if usable else None


def _begun(stored: StoredCertificates, wanted: RequestedNames, now: dt.datetime) -> RotationStep:
    """Begin with a new authority; a certificate that still does its work goes on doing it."""
    fresh = add_new_ca(stored, now)
    if not _unusable(stored, wanted, now):
        return RotationStep(fresh, "the CA can't sign, or its key is lost: a new CA joins the bundle")
    authority = KeyPair(fresh.cas[0].pem, fresh.ca_key)
    return RotationStep(_reissued(fresh, authority, wanted, now), "there was no usable CA: made one, and a certificate")


def _unusable(stored: StoredCertificates, wanted: RequestedNames, now: dt.datetime) -> str:
    """Return why the certificate can't be served at all, so that waiting would be of no use; or ''."""
    serving = stored.serving
    if serving is None:
        return "there is no certificate with its key"
    if not serving.is_valid_at(now):
        return "the certificate isn't valid at this time"
    if not any(serving.is_signed_by(one) for one in stored.cas if one.is_valid_at(now)):
        return "no CA in the bundle has signed the certificate"
    if len(wanted.missing(serving)) == len(wanted.own):
        return "the certificate is for none of the names"
    return ""


def _reissued(
    stored: StoredCertificates, signer: KeyPair, wanted: RequestedNames, now: dt.datetime
) -> StoredCertificates:
    made = issue_certificate(signer, wanted.all, now)
    return replace(stored, certificate=made.certificate, key=made.key)
