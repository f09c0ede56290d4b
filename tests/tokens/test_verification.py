"""Which tokens are accepted, for which audiences, and the reasons of a rejection."""

import datetime as dt

import pytest

from tests.tokens.signing import ISSUED, ISSUER, VAULT, jwks, legacy_claims, plain_claims, pod_claims, signer
from webhook.tokens.claims import parse_token
from webhook.tokens.jwks import parse_jwks
from webhook.tokens.verification import (
    Issuer,
    PresentedToken,
    TokenReviewResult,
    VerificationResult,
    verify_by_review,
    verify_with_keys,
)

NOW = ISSUED + 600
APP = "system:serviceaccount:demo:app"
CLUSTER_LOCAL = f"{ISSUER}.cluster.local"
USUAL = f'the API server ("{ISSUER}", "{CLUSTER_LOCAL}")'
ELSEWHERE = "https://elsewhere.example.com"


def presented(claims, *audiences: str, now: int = NOW, text: bytes | None = None) -> PresentedToken:
    text = text or signer().sign(claims)
    return PresentedToken(text, parse_token(text), audiences, dt.datetime.fromtimestamp(now, dt.UTC))


def issuer(name: str = ISSUER) -> Issuer:
    return Issuer(parse_jwks(jwks(signer(), signer("ES256", "key-2"))), name)


def checked(claims, *audiences: str, now: int = NOW, name: str = ISSUER) -> VerificationResult:
    return verify_with_keys(presented(claims, *audiences, now=now), issuer(name))


ACCEPTED = {
    "for the API server": (plain_claims(), (), (ISSUER,)),
    "for an audience": (plain_claims(aud=[VAULT, ISSUER]), (VAULT,), (VAULT,)),
    "for one of two": (plain_claims(aud=[VAULT]), (ELSEWHERE, VAULT), (VAULT,)),
    "for both": (plain_claims(aud=[VAULT, ISSUER]), (ISSUER, VAULT), (ISSUER, VAULT)),
    "an audience that is no list": (plain_claims(aud=VAULT), (VAULT,), (VAULT,)),
    "a year": (pod_claims(), (), (ISSUER,)),
    "legacy": (legacy_claims(), (), ()),
    "legacy, for the API server by name": (legacy_claims(), (ISSUER,), (ISSUER,)),
}


@pytest.mark.parametrize(("claims", "requested", "audiences"), ACCEPTED.values(), ids=ACCEPTED)
def test_valid_token_is_accepted_for_its_audiences(claims, requested, audiences) -> None:
    verification = checked(claims, *requested)
    assert (verification.accepted, verification.audiences, verification.account, verification.reasons) == (
        True,
        audiences,
        APP,
        (),
    )
    assert set(verification.rejected) == set(requested) - set(audiences)


REFUSED = {
    "issued for another audience": (
        plain_claims(), (VAULT,), [f'issued for "{ISSUER}", not for "{VAULT}"'],
    ),
    "not issued for the API server": (plain_claims(aud=[VAULT]), (), [f'issued for "{VAULT}", not for {USUAL}']),
    "legacy, for somebody else": (
        legacy_claims(), (VAULT,), [f'issued for the API server only, not for "{VAULT}"'],
    ),
    "expired": (plain_claims(exp=NOW - 60), (), ["expired 1 minute ago"]),
    "not yet valid": (plain_claims(nbf=NOW + 61), (), ["not valid for another 1 minute 1 second"]),
    "of another issuer": (plain_claims(iss=ELSEWHERE), (), [f'issued by "{ELSEWHERE}", not by "{ISSUER}"']),
    "of no issuer": (plain_claims(iss=None), (), [f'issued by "", not by "{ISSUER}"']),
    "legacy, but of another issuer": (
        legacy_claims(iss=ELSEWHERE), (), [f'issued by "{ELSEWHERE}", not by "{ISSUER}"'],
    ),
    "bound, but with the legacy issuer": (
        plain_claims(iss="kubernetes/serviceaccount"), (),
        [f'issued by "kubernetes/serviceaccount", not by "{ISSUER}"'],
    ),
    "without end": (plain_claims(exp=None), (), ["never expires"]),
    "no service account's": (
        plain_claims(**{"kubernetes.io": None}), (),
        ["not a service account token: no claim names a namespace and a ServiceAccount"],
    ),
    "everything": (
        plain_claims(iss=ELSEWHERE, exp=NOW - 600), (VAULT,),
        [f'issued by "{ELSEWHERE}", not by "{ISSUER}"', "expired 10 minutes ago",
         f'issued for "{ISSUER}", not for "{VAULT}"'],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("claims", "requested", "reasons"), REFUSED.values(), ids=REFUSED)
def test_rejected_token_has_every_reason(claims, requested, reasons) -> None:
    verification = checked(claims, *requested)
    assert (verification.accepted, verification.audiences, verification.rejected) == (False, (), requested)
    assert list(verification.reasons) == reasons


def test_clock_skew_of_a_minute_is_tolerated() -> None:
    assert checked(plain_claims(exp=NOW - 59)).accepted
    assert checked(plain_claims(nbf=NOW + 60, iat=NOW + 60)).accepted


def test_forged_token_is_rejected_whatever_it_claims() -> None:
    forged = signer(key_id="stranger").sign(plain_claims(), kid="key-1")
    verification = verify_with_keys(presented(None, text=forged), issuer())
    assert verification.reasons == ("the signature was not made with the key that the token names",)


def test_unknown_issuer_name_is_noted() -> None:
    verification = checked(plain_claims(iss=ELSEWHERE, aud=[ELSEWHERE]), name="")
    assert (verification.accepted, verification.audiences) == (True, (ELSEWHERE,))
    assert verification.notes == (f'issuer "{ELSEWHERE}" not verified; set --issuer',)


def test_token_past_its_requested_lifetime_has_a_note() -> None:
    verification = checked(pod_claims(), now=ISSUED + 3607 + 90)
    assert verification.accepted
    assert verification.notes == ("stale: its requested lifetime ended 1 minute 30 seconds ago",)


def test_accepted_review_determines_audiences_and_account() -> None:
    review = TokenReviewResult(authenticated=True, username=APP, audiences=(VAULT,))
    verification = verify_by_review(presented(plain_claims(), ELSEWHERE, VAULT), review, None)
    assert (verification.accepted, verification.audiences, verification.rejected, verification.account) == (
        True,
        (VAULT,),
        (ELSEWHERE,),
        APP,
    )


def test_review_without_audiences_is_for_the_api_server_only() -> None:
    review = TokenReviewResult(authenticated=True, username=APP)
    assert verify_by_review(presented(plain_claims()), review, None).accepted
    refused = verify_by_review(presented(plain_claims(), VAULT), review, None)
    assert not refused.accepted
    assert "ignored the audience" in refused.reasons[0]


def test_rejected_review_has_the_error_and_every_reason() -> None:
    review = TokenReviewResult(authenticated=False, error="invalid\nbearer token")
    verification = verify_by_review(presented(plain_claims(iss=ELSEWHERE)), review, issuer())
    assert verification.reasons == (
        "the API server says: invalid\\nbearer token",
        f'issued by "{ELSEWHERE}", not by "{ISSUER}"',
    )
    silent = verify_by_review(presented(plain_claims()), TokenReviewResult(authenticated=False), None)
    assert silent.reasons == ("the API server gives no reason",)
    unseen = verify_by_review(presented(plain_claims(iss=ELSEWHERE)), review, None)
    assert unseen.reasons == verification.reasons[:1]


def test_rejected_valid_token_names_its_bound_objects() -> None:
    verification = verify_by_review(
        presented(pod_claims()), TokenReviewResult(authenticated=False, error="no"), issuer()
    )
    [reason] = verification.reasons[1:]
    assert reason.startswith("the token itself is valid; check whether these were deleted or recreated")
    assert reason.endswith(": its account, Pod app-1, Node node-1")


def test_repr_of_a_presented_token_does_not_contain_it() -> None:
    shown = presented(plain_claims())
    assert shown.text.decode() not in repr(shown)
    assert shown.text.split(b".")[2].decode() not in repr(shown)
