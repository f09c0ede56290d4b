"""What a client takes and what it refuses; tests/control_plane holds the same cases against a real API server."""

import datetime as dt

import pytest

from tests.pki.foreign import CA, NAME, NOW, cases, foreign, named
from webhook.pki.certificate import certificates
from webhook.pki.issue import issue, new_authority
from webhook.pki.verify import refusal

CASES = cases()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_client_takes_what_go_takes_and_says_what_is_wrong_with_the_rest(case) -> None:
    assert refusal(certificates(case.served), case.bundle, NAME, NOW) == case.why


def test_names_are_compared_without_regard_to_case_and_addresses_as_addresses() -> None:
    made = foreign("served", named("Guard.Example.com", "*.Apps.example.com"))
    for name in ("guard.example.COM", "one.apps.example.com"):
        assert refusal(certificates(made.certificate), made.certificate, name, NOW) == ""
    for name in ("apps.example.com", "a.b.apps.example.com", "127.0.0.1"):
        assert refusal(certificates(made.certificate), made.certificate, name, NOW).endswith(f"not for {name}")


def test_an_address_is_the_same_however_it_is_written() -> None:
    authority = new_authority(NOW)
    made = certificates(issue(authority, ["2001:db8::1"], NOW).certificate)
    for name in ("2001:db8::1", "2001:0DB8:0:0::1"):
        assert refusal(made, authority.certificate, name, NOW) == ""
    assert refusal(made, authority.certificate, "2001:db8::2", NOW).endswith("not for 2001:db8::2")


def test_a_certificate_is_taken_from_its_beginning_to_its_end() -> None:
    authority = foreign("CA", *CA)
    served = certificates(foreign("served", named(NAME), by=authority, days=10).certificate)
    late = "the certificate isn't valid at this time"
    for days, why in ((-1, late), (9, ""), (11, late)):
        assert refusal(served, authority.certificate, NAME, NOW + dt.timedelta(days=days)) == why
