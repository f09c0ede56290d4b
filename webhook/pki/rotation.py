"""When certificates are renewed, and in which order, so that whoever trusts the bundle never meets a stranger.

What is kept is a bundle of authorities, of which the first signs, and one serving certificate. A new authority comes
in three steps, and each waits until the one before has arrived everywhere:

1. the new authority joins the bundle, as its first, while the serving certificate stays as it is;
2. once every client trusts the bundle, the new authority signs a new serving certificate;
3. once every server serves that, the old authority leaves the bundle.

Each step can be read off what is kept, so anybody may take the next one, whoever took the last.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace

from webhook.pki.certificate import Certificate, certificates
from webhook.pki.issue import Pair, issue, new_authority, signing_key
from webhook.pki.san import normal_name, possible_names


@dataclass(frozen=True)
class Kept:
    """The authorities' certificates (the first one's key is `authority_key`), and what is served. PEM, all of it."""

    bundle: bytes = b""
    authority_key: bytes = b""
    certificate: bytes = b""
    key: bytes = b""

    def __repr__(self) -> str:
        return "Kept(...)"

    @property
    def authorities(self) -> tuple[Certificate, ...]:
        """The certificates in the bundle; the first one signs."""
        return certificates(self.bundle)

    @property
    def serving(self) -> Certificate | None:
        """The certificate that is served, where there is one to which the key belongs."""
        found = certificates(self.certificate)
        return found[0] if found and found[0].belongs_to(self.key) else None


@dataclass(frozen=True)
class Arrived:
    """How far the last step has come: every client trusts the bundle, every server serves the certificate."""

    trusted: bool
    served: bool


@dataclass(frozen=True)
class Step:
    """What is to be kept from now on, and why, in a few words for a log."""

    kept: Kept
    why: str


@dataclass(frozen=True)
class Names:
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
        return tuple(dict.fromkeys((*map(normal_name, self.own), *possible_names(self.others))))

    def missing(self, serving: Certificate) -> tuple[str, ...]:
        """Return which of `own` a certificate lacks."""
        there = possible_names(serving.names)
        return tuple(name for name in map(normal_name, self.own) if name not in there)


def next_step(kept: Kept, wanted: Names, arrived: Arrived, now: dt.datetime) -> Step | None:
    """Return the next step, or None where there is nothing to do. Raises ValueError as `Names` does."""
    signer = _signer(kept, now)
    if signer is None:
        return _begun(kept, wanted, now)
    why = _unusable(kept, wanted, now)
    if why:
        return Step(_reissued(kept, signer, wanted, now), why)
    if now >= kept.authorities[0].due:
        return Step(with_new_authority(kept, now), "the CA is near its end: a new one joins the bundle")
    return _onward(kept, signer, wanted, arrived, now)


def with_new_authority(kept: Kept, now: dt.datetime) -> Kept:
    """Take the first step to a new authority."""
    authority = new_authority(now)
    old = b"".join(one.pem for one in kept.authorities if one.holds_at(now))
    return replace(kept, bundle=authority.certificate + old, authority_key=authority.key)


def with_new_certificate(kept: Kept, names: Iterable[str], now: dt.datetime) -> Kept | None:
    """Have the authority in force sign a new serving certificate; None where there is none that can."""
    signer = _signer(kept, now)
    return _reissued(kept, signer, Names(tuple(names)), now) if signer else None


def _onward(kept: Kept, signer: Pair, wanted: Names, arrived: Arrived, now: dt.datetime) -> Step | None:
    """Return the next step where the authority and the serving certificate are both good."""
    serving, (first, *others) = kept.serving, kept.authorities
    if serving is None:
        return None
    own = serving.is_signed_by(first)
    missing = wanted.missing(serving)
    if not own and not arrived.trusted:
        return None
    if not own:
        why = "the new CA is trusted: it signs the certificate"
    elif now >= serving.due:
        why = "the certificate is near its end"
    elif missing:
        why = f"the certificate lacks {', '.join(missing)}"
    else:
        why = ""
    if why:
        return Step(_reissued(kept, signer, wanted, now), why)
    if others and arrived.served:
        return Step(replace(kept, bundle=first.pem), "every replica serves the new certificate: the old CA leaves")
    valid = [one for one in (first, *others) if one.holds_at(now)]
    if len(valid) <= len(others):
        return Step(replace(kept, bundle=b"".join(one.pem for one in valid)), "a CA in the bundle has ended")
    return None


def _signer(kept: Kept, now: dt.datetime) -> Pair | None:
    """Return the authority that can sign now, if there is one."""
    if not kept.authorities:
        return None
    first = kept.authorities[0]
    try:
        signing_key(kept.authority_key)
    except ValueError:
        return None
    usable = first.holds_at(now) and first.may_sign and first.belongs_to(kept.authority_key)
    return Pair(first.pem, kept.authority_key) if usable else None


def _begun(kept: Kept, wanted: Names, now: dt.datetime) -> Step:
    """Begin with a new authority; a certificate that still does its work goes on doing it."""
    fresh = with_new_authority(kept, now)
    if not _unusable(kept, wanted, now):
        return Step(fresh, "the CA can't sign, or its key is lost: a new CA joins the bundle")
    authority = Pair(fresh.authorities[0].pem, fresh.authority_key)
    return Step(_reissued(fresh, authority, wanted, now), "there was no usable CA: made one, and a certificate")


def _unusable(kept: Kept, wanted: Names, now: dt.datetime) -> str:
    """Return why the certificate can't be served at all, so that waiting would be of no use; or ''."""
    serving = kept.serving
    if serving is None:
        return "there is no certificate with its key"
    if not serving.holds_at(now):
        return "the certificate isn't valid at this time"
    if not any(serving.is_signed_by(one) for one in kept.authorities if one.holds_at(now)):
        return "no CA in the bundle has signed the certificate"
    if len(wanted.missing(serving)) == len(wanted.own):
        return "the certificate is for none of the names"
    return ""


def _reissued(kept: Kept, signer: Pair, wanted: Names, now: dt.datetime) -> Kept:
    made = issue(signer, wanted.all, now)
    return replace(kept, certificate=made.certificate, key=made.key)
