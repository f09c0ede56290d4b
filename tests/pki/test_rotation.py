"""During a rotation no client rejects a server, even if both lag behind."""

import datetime as dt
from dataclasses import replace
from itertools import pairwise, product

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.pki.foreign import CA, foreign, named, usage
from webhook.pki.certificate import parse_certificates
from webhook.pki.issue import KeyPair, create_ca, issue_certificate
from webhook.pki.rotation import (
    MAX_CAS,
    RolloutProgress,
    StoredCertificates,
    add_new_ca,
    next_step,
    start_rotation,
)
from webhook.pki.verify import verification_error

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
NAMES = ("tokenguard.tokenguard.svc", "127.0.0.1")
NOWHERE = RolloutProgress(trusted=False, served=False)
TRUSTED = RolloutProgress(trusted=True, served=False)
EVERYWHERE = RolloutProgress(trusted=True, served=True)


def stepped(
    stored: StoredCertificates, progress: RolloutProgress, now: dt.datetime = NOW, names=NAMES
) -> StoredCertificates:
    step = next_step(stored, names, progress, now)
    assert step is not None
    assert step.reason
    return step.stored


@pytest.fixture
def stored() -> StoredCertificates:
    return stepped(StoredCertificates(), NOWHERE)


def is_sound(stored: StoredCertificates, now: dt.datetime = NOW) -> bool:
    return accepts(stored.bundle, stored.certificate, now) and parse_certificates(stored.certificate)[0].matches_key(
        stored.key
    )


def accepts(bundle: bytes, certificate: bytes, now: dt.datetime = NOW) -> bool:
    return verification_error(parse_certificates(certificate), bundle, NAMES[0], now) == ""


def test_empty_state_gets_ca_and_certificate_at_once(stored) -> None:
    assert is_sound(stored)
    assert len(stored.cas) == 1
    assert next_step(stored, NAMES, NOWHERE, NOW) is None
    assert next_step(stored, NAMES, EVERYWHERE, NOW) is None


def test_certificate_is_renewed_with_a_third_left_by_the_same_ca(stored) -> None:
    assert next_step(stored, NAMES, EVERYWHERE, NOW + 19 * DAY) is None
    renewed = stepped(stored, NOWHERE, NOW + 20 * DAY)
    assert is_sound(renewed, NOW + 49 * DAY)
    assert (renewed.bundle, renewed.ca_key) == (stored.bundle, stored.ca_key)


def test_ca_is_renewed_with_a_third_left_without_rejection(stored) -> None:
    now = NOW + 244 * DAY
    stages = [stepped(stored, EVERYWHERE, now)]  # the certificate, due long ago
    stages.append(stepped(stages[-1], EVERYWHERE, now))
    assert next_step(stages[-1], NAMES, NOWHERE, now) is None
    stages.append(stepped(stages[-1], TRUSTED, now))
    assert next_step(stages[-1], NAMES, EVERYWHERE, now) is None
    assert [len(stage.cas) for stage in stages] == [1, 2, 2]
    for earlier, later in pairwise(stages):
        for bundle, served in product((earlier.bundle, later.bundle), (earlier.certificate, later.certificate)):
            assert accepts(bundle, served, now) or (bundle, served) == (stages[0].bundle, stages[2].certificate)
    assert accepts(stages[-1].bundle, stages[0].certificate, now)
    assert stages[-1].ca_key != stages[0].ca_key


def test_revoked_ca_is_removed_with_the_new_certificate(stored) -> None:
    joined = add_new_ca(stored, NOW, revoke=True)
    assert accepts(joined.bundle, stored.certificate)
    assert next_step(joined, NAMES, NOWHERE, NOW) is None
    signed = stepped(joined, TRUSTED)
    assert next_step(signed, NAMES, TRUSTED, NOW) is None
    done = stepped(signed, EVERYWHERE)
    assert is_sound(done)
    assert (len(done.cas), done.revoked) == (1, b"")
    assert not accepts(done.bundle, stored.certificate)


@pytest.mark.parametrize("hours", [-2, 400 * 24], ids=["behind", "ahead"])
def test_wrong_clock_does_not_drop_the_ca_in_use(stored, hours) -> None:
    joined = add_new_ca(stored, NOW + dt.timedelta(hours=hours), revoke=True)
    assert accepts(joined.bundle, stored.certificate)


def test_revocation_includes_the_cas_of_earlier_rotations(stored) -> None:
    joined = add_new_ca(stepped(add_new_ca(stored, NOW), TRUSTED), NOW, revoke=True)
    assert len(joined.cas) == 3
    assert accepts(joined.bundle, stored.certificate)
    assert len(stepped(stepped(joined, TRUSTED), EVERYWHERE).cas) == 1


def test_ca_added_after_a_revocation_keeps_others_revoked(stored) -> None:
    joined = add_new_ca(stepped(add_new_ca(stored, NOW, revoke=True), TRUSTED), NOW)
    done = stepped(stepped(joined, TRUSTED), EVERYWHERE)
    assert len(done.cas) == 2
    assert not accepts(done.bundle, stored.certificate)


def test_expired_ca_is_removed_from_the_bundle(stored) -> None:
    later = NOW + 366 * DAY
    fresh = create_ca(later)
    made = issue_certificate(fresh, NAMES, later)
    both = StoredCertificates(fresh.certificate + stored.bundle, fresh.key, made.certificate, made.key)
    assert stepped(both, NOWHERE, later).bundle == fresh.certificate


def test_lost_ca_key_is_replaced_while_the_certificate_is_served(stored) -> None:
    fresh = stepped(replace(stored, ca_key=b"junk"), NOWHERE)
    assert fresh.certificate == stored.certificate
    assert accepts(fresh.bundle, stored.certificate)
    assert is_sound(stepped(fresh, TRUSTED))


@pytest.mark.parametrize("lifetime", [365, 3650])
def test_replaced_ca_from_elsewhere_is_revoked(lifetime) -> None:
    own = create_ca(NOW, lifetime * DAY)
    stored = stepped(StoredCertificates(own.certificate, own.key), NOWHERE)
    joined = add_new_ca(stored, NOW)
    assert accepts(joined.bundle, stored.certificate)
    assert bool(joined.revoked_cas) == (lifetime > 365)


@pytest.mark.parametrize("progress", [NOWHERE, TRUSTED, EVERYWHERE], ids=["nowhere", "trusted", "everywhere"])
def test_bundle_is_bounded_if_the_ca_key_keeps_disappearing(stored, progress) -> None:
    for _ in range(40):
        before, stored = stored, stepped(replace(stored, ca_key=b""), progress)
        while step := next_step(stored, NAMES, progress, NOW):
            stored = step.stored
        assert accepts(stored.bundle, before.certificate) or progress is EVERYWHERE
        assert len(stored.cas) <= MAX_CAS
    assert len(stored.revoked_cas) == len(stored.cas) - 1


CANT_SIGN = {
    "Ed25519": foreign("CA", *CA, key=ed25519.Ed25519PrivateKey.generate()),
    "RSA that is too short": foreign("CA", *CA, key=rsa.generate_private_key(65537, 1024)),
    "a curve that TLS doesn't know": foreign("CA", *CA, key=ec.generate_private_key(ec.SECP256K1())),
    "no CA": foreign("CA", x509.BasicConstraints(ca=False, path_length=None)),
    "not said to be a CA": foreign("CA", usage(key_cert_sign=True)),
    "a CA whose key is for something else": foreign("CA", *CA, usage(digital_signature=True)),
}


@pytest.mark.parametrize("authority", CANT_SIGN.values(), ids=CANT_SIGN)
def test_ca_that_cannot_sign_is_replaced_and_stays_trusted(authority) -> None:
    served = foreign("served", named(*NAMES[:1]), by=authority)
    stored = StoredCertificates(authority.certificate, authority.key, served.certificate, served.key)
    joined = stepped(stored, NOWHERE)
    assert joined.certificate == stored.certificate
    assert [ca.pem for ca in joined.cas][1:] == [authority.certificate]
    assert is_sound(stepped(joined, TRUSTED))


CAN_SIGN = {
    "RSA": foreign("CA", *CA, key=rsa.generate_private_key(65537, 2048)),
    "P-384": foreign("CA", *CA, key=ec.generate_private_key(ec.SECP384R1())),
    "a CA that says what its key is for": foreign("CA", *CA, usage(key_cert_sign=True)),
}


@pytest.mark.parametrize("authority", CAN_SIGN.values(), ids=CAN_SIGN)
def test_ca_from_elsewhere_signs_if_it_can(authority) -> None:
    made = stepped(StoredCertificates(authority.certificate, authority.key), NOWHERE)
    assert made.bundle == authority.certificate
    assert made.serving.is_signed_by(made.cas[0])


STRANGER = issue_certificate(create_ca(NOW), NAMES, NOW)
BROKEN = {
    "no certificate": {"certificate": b"", "key": b""},
    "another's key": {"key": STRANGER.key},
    "junk": {"certificate": b"junk"},
    "signed by another": {"certificate": STRANGER.certificate, "key": STRANGER.key},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_unusable_certificate_is_replaced_at_once_by_the_same_ca(stored, broken) -> None:
    replaced = stepped(replace(stored, **broken), NOWHERE)
    assert is_sound(replaced)
    assert replaced.bundle == stored.bundle


def test_expired_ca_and_certificate_are_replaced_at_once(stored) -> None:
    later = NOW + 400 * DAY
    assert is_sound(stepped(stored, NOWHERE, later), later)


def test_certificate_without_a_name_is_replaced_with_all_names(stored) -> None:
    more = stepped(stored, NOWHERE, names=("b.example.com", *NAMES[:1]))
    assert more.serving.names == ("tokenguard.tokenguard.svc", "b.example.com", "127.0.0.1")
    assert next_step(more, NAMES, NOWHERE, NOW) is None


def test_renewal_drops_names_that_are_not_wanted(stored) -> None:
    more = stepped(stored, NOWHERE, names=(*NAMES, "b.example.com"))
    assert "b.example.com" not in stepped(more, NOWHERE, NOW + 20 * DAY).serving.names


def test_certificate_with_none_of_the_names_is_replaced_at_once(stored) -> None:
    step = next_step(add_new_ca(stored, NOW), ("b.example.com",), NOWHERE, NOW)
    assert step.reason == "the certificate is valid for none of the names"
    assert step.stored.serving.names == ("b.example.com",)


def test_certificate_that_is_not_valid_yet_is_replaced_at_once(stored) -> None:
    early = issue_certificate(KeyPair(stored.bundle, stored.ca_key), NAMES, NOW + DAY)
    step = next_step(replace(stored, certificate=early.certificate, key=early.key), NAMES, NOWHERE, NOW)
    assert step.reason == "the certificate is expired or not yet valid"
    assert is_sound(step.stored)


@pytest.mark.parametrize("name", ["B.example.com", "0:0:0:0:0:0:0:1", "FE80::1%eth0", "::FFFF"])
def test_name_in_another_spelling_is_not_missing(stored, name) -> None:
    more = stepped(stored, NOWHERE, names=(*NAMES, name))
    assert len(more.serving.names) == len(NAMES) + 1
    assert next_step(more, (*NAMES, name), NOWHERE, NOW) is None


def test_new_certificate_can_be_forced_if_there_is_a_ca(stored) -> None:
    step = start_rotation(stored, NOW, ca=False)
    assert step.reason == "signed a new certificate"
    assert is_sound(step.stored)
    assert step.stored.certificate != stored.certificate
    assert step.stored.bundle == stored.bundle


@pytest.mark.parametrize("ca", [False, True])
def test_rotation_with_an_expired_ca_replaces_all_at_once(stored, ca) -> None:
    later = NOW + 400 * DAY
    step = start_rotation(stored, later, ca=ca)
    assert step.reason == "created a CA and a certificate"
    assert is_sound(step.stored, later)
    assert step.stored.serving.names == stored.serving.names
    assert (len(step.stored.cas), step.stored.revoked_cas) == (1, ())
    assert next_step(step.stored, NAMES, NOWHERE, later) is None


def test_rotation_with_an_expired_certificate_keeps_the_ca(stored) -> None:
    later = NOW + 40 * DAY
    assert is_sound(start_rotation(stored, later, ca=False).stored, later)
    replaced = start_rotation(stored, later, ca=True).stored
    assert is_sound(replaced, later)
    assert parse_certificates(stored.bundle) == replaced.revoked_cas


def test_rotation_with_a_lost_ca_key_keeps_the_certificate(stored) -> None:
    step = start_rotation(replace(stored, ca_key=STRANGER.key), NOW, ca=False)
    assert step.reason == "added a new CA to the bundle"
    assert step.stored.certificate == stored.certificate
    assert accepts(step.stored.bundle, stored.certificate)


def test_repr_does_not_contain_keys(stored) -> None:
    assert "PRIVATE" not in repr(stored)
