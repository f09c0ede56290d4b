"""Accepted and rejected certificates; tests/control_plane checks the same cases with a real API server."""

import datetime as dt

import pytest

from tests.pki.foreign import CA, NAME, NOW, cases, foreign, named
from webhook.pki.certificate import parse_certificates
from webhook.pki.issue import create_ca, issue_certificate
from webhook.pki.verify import verification_error

CASES = cases()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_verification_agrees_with_go_and_explains_rejections(case) -> None:
    assert verification_error(parse_certificates(case.served), case.bundle, NAME, NOW) == case.why


def test_names_ignore_case_and_addresses_do_not_match_wildcards() -> None:
    made = foreign("served", named("Guard.Example.com", "*.Apps.example.com"))
    for name in ("guard.example.COM", "one.apps.example.com"):
        assert verification_error(parse_certificates(made.certificate), made.certificate, name, NOW) == ""
    for name in ("apps.example.com", "a.b.apps.example.com", "127.0.0.1"):
        assert verification_error(parse_certificates(made.certificate), made.certificate, name, NOW).endswith(
            f"not valid for {name}"
        )


def test_address_matches_in_any_spelling() -> None:
    authority = create_ca(NOW)
    made = parse_certificates(issue_certificate(authority, ["2001:db8::1"], NOW).certificate)
    for name in ("2001:db8::1", "2001:0DB8:0:0::1"):
        assert verification_error(made, authority.certificate, name, NOW) == ""
    assert verification_error(made, authority.certificate, "2001:db8::2", NOW).endswith("not valid for 2001:db8::2")


def test_certificate_is_valid_from_not_before_to_not_after() -> None:
    authority = foreign("CA", *CA)
    served = parse_certificates(foreign("served", named(NAME), by=authority, days=10).certificate)
    reason = "the certificate is expired or not yet valid"
    for days, why in ((-1, reason), (9, ""), (11, reason)):
        assert verification_error(served, authority.certificate, NAME, NOW + dt.timedelta(days=days)) == why
