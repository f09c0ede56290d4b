"""Problems of a token, whatever the policy."""

import datetime as dt

import pytest

from tests.tokens.signing import ISSUED, legacy_claims, plain_claims, pod_claims, unsigned
from webhook.tokens.claims import parse_token
from webhook.tokens.humanize import humanize_seconds
from webhook.tokens.problems import find_problems

HEADER = {"alg": "RS256", "kid": "key-1"}

CASES = {
    "a sound token": (HEADER, plain_claims(), []),
    "expired": (HEADER, plain_claims(exp=ISSUED - 90), ["expired 1 minute 40 seconds ago"]),
    "expired this second": (HEADER, plain_claims(exp=ISSUED + 10), ["expired 0 seconds ago"]),
    "not yet valid": (HEADER, plain_claims(nbf=ISSUED + 130), ["not valid for another 2 minutes"]),
    "of the future": (HEADER, plain_claims(iat=ISSUED + 3610), ["issued 1 hour in the future"]),
    "without end": (HEADER, plain_claims(exp=None), ["never expires"]),
    "legacy": (HEADER, legacy_claims(), ["never expires"]),
    "a year": (
        HEADER,
        pod_claims(),
        ["requested for 1 hour 7 seconds, but valid for 1 year: the API server extends a pod's token of 3607 seconds"],
    ),
    "another's subject": (
        HEADER,
        plain_claims(sub="system:serviceaccount:demo:admin\n"),
        ['inconsistent: the subject is "system:serviceaccount:demo:admin\\n", the account "system:'],
    ),
    "a person's": (
        HEADER,
        {"sub": "jane", "exp": ISSUED + 60},
        ["not a service account token: no claim names a namespace and a ServiceAccount"],
    ),
    "signed by nobody": (
        {"alg": "none"},
        plain_claims(),
        ["unsigned (alg: none): anyone could have written it"],
    ),
    "signed with a secret": (
        {"alg": "HS256"},
        plain_claims(),
        ['signed with "HS256"; Kubernetes signs with RS256, ES256, ES384, ES512'],
    ),
    "all at once": ({"alg": "none"}, {}, ["not a service account token", "unsigned", "never expires"]),
}


@pytest.mark.parametrize(("header", "claims", "said"), CASES.values(), ids=CASES)
def test_find_problems_of_each_kind_of_token(header, claims, said) -> None:
    token = parse_token(unsigned(header, claims))
    problems = list(find_problems(token, dt.datetime.fromtimestamp(ISSUED + 10, dt.UTC)))
    assert len(problems) == len(said)
    assert all(pair.startswith(expected) for pair, expected in zip(problems, said, strict=True)), problems


@pytest.mark.parametrize(("seconds", "words"), [
    (0, "0 seconds"), (1, "1 second"), (59.9, "59 seconds"), (3600, "1 hour"), (3607, "1 hour 7 seconds"),
    (90061, "1 day 1 hour"), (31_536_000, "1 year"), (-120, "2 minutes"), (2**32, "136 years 70 days"),
])  # fmt: skip
def test_humanize_seconds_uses_two_units(seconds, words) -> None:
    assert humanize_seconds(seconds) == words
