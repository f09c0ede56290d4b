import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from webhook.pki.certificate import parse_certificates
from webhook.pki.issue import CA_LIFETIME, SERVING_LIFETIME, KeyPair, create_ca, create_self_signed, issue_certificate
from webhook.pki.san import service_names
from webhook.pki.verify import verification_error

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
NAME = "tokenguard.tokenguard.svc"


def only(pem: bytes):
    [certificate] = parse_certificates(pem)
    return certificate


@pytest.fixture
def authority() -> KeyPair:
    return create_ca(NOW)


def test_serving_certificate_is_accepted_only_with_its_ca(authority) -> None:
    chain = parse_certificates(issue_certificate(authority, service_names("tokenguard"), NOW).certificate)
    assert verification_error(chain, authority.certificate, NAME, NOW) == ""
    assert verification_error(chain, create_ca(NOW).certificate, NAME, NOW) != ""
    assert verification_error(chain, authority.certificate, "other.tokenguard.svc", NOW) != ""
    assert verification_error(chain, b"", NAME, NOW) == "the bundle contains no certificate"


def test_certificates_have_their_specified_lifetimes(authority) -> None:
    made = issue_certificate(authority, [NAME], NOW)
    assert only(made.certificate).not_after - NOW == SERVING_LIFETIME == 30 * DAY
    assert only(authority.certificate).not_after - NOW == CA_LIFETIME == 365 * DAY
    assert verification_error(parse_certificates(made.certificate), authority.certificate, NAME, NOW + 29 * DAY) == ""
    assert verification_error(parse_certificates(made.certificate), authority.certificate, NAME, NOW + 31 * DAY) != ""


def test_renew_at_is_a_third_before_expiry(authority) -> None:
    due = only(issue_certificate(authority, [NAME], NOW).certificate).renew_at
    assert NOW + 19 * DAY < due < NOW + 20 * DAY


def test_certificate_does_not_outlive_its_ca(authority) -> None:
    near_expiry = NOW + 360 * DAY
    assert (
        only(issue_certificate(authority, [NAME], near_expiry).certificate).not_after
        == only(authority.certificate).not_after
    )


def test_key_is_p256_and_matches_only_its_certificate(authority) -> None:
    made = issue_certificate(authority, [NAME], NOW)
    public = only(made.certificate).x509.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    assert only(made.certificate).matches_key(made.key)
    assert not only(made.certificate).matches_key(authority.key)
    assert not only(made.certificate).matches_key(b"junk")


def test_ca_may_sign_serving_certificates_only(authority) -> None:
    extensions = only(authority.certificate).x509.extensions
    limits = extensions.get_extension_for_class(x509.BasicConstraints).value
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert (limits.ca, limits.path_length) == (True, 0)
    assert usage.key_cert_sign
    assert not usage.digital_signature


def test_ca_names_are_unique() -> None:
    subjects = {only(create_ca(NOW).certificate).subject for _ in range(5)}
    assert len(subjects) == 5


def test_certificate_contains_names_and_addresses(authority) -> None:
    made = issue_certificate(authority, ["a.example.com", "127.0.0.1", "::1", "a.example.com"], NOW)
    assert only(made.certificate).names == ("a.example.com", "127.0.0.1", "::1")


@pytest.mark.parametrize(
    "name",
    [
        "", "a b", "a..b", "ü.example.com", "x" * 64, "*", "-a.b", "a-.b", "*.", "a.*.b", "x." * 127 + "xx",
        "999.1.1.1", "127.1",
    ],
)  # fmt: skip
def test_invalid_name_raises_value_error(authority, name: str) -> None:
    with pytest.raises(ValueError, match="neither a DNS name nor an address"):
        issue_certificate(authority, [name], NOW)


def test_unreadable_certificate_in_a_bundle_is_skipped(authority) -> None:
    broken = authority.certificate.replace(b"MII", b"!!!", 1)
    assert [
        certificate.pem
        for certificate in parse_certificates(b"junk\n" + broken + authority.certificate + b"-----BEGIN")
    ] == [authority.certificate]


def test_repr_does_not_contain_keys(authority) -> None:
    assert "PRIVATE" not in f"{authority!r}{[authority]}{create_self_signed((), NOW)!r}"


def test_self_signed_certificate_has_localhost_and_names() -> None:
    made = create_self_signed(["webhook.example.com", "10.0.0.7", "localhost"], NOW)
    leaf, ca = x509.load_pem_x509_certificates(made.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "webhook.example.com"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.0.0.7"]
    leaf.verify_directly_issued_by(ca)
    assert leaf.not_valid_before_utc < NOW < leaf.not_valid_after_utc
