"""What policies say about tokens."""

import datetime as dt

import pytest

from tests.check.runs import policy
from tests.policies import HEAD
from tests.tokens.signing import ISSUED, VAULT, legacy_claims, plain_claims, pod_claims, unsigned
from webhook.core.decision import Decision, Outcome
from webhook.tokens.claims import parse_token
from webhook.tokens.inspection import check_against_policy

NOW = dt.datetime.fromtimestamp(ISSUED, dt.UTC)
DENIED, ALLOWED, WARNED = Outcome.DENIED, Outcome.ALLOWED, Outcome.WARNED
UNBOUND = ("token-request-binding", "audit")
TOO_LONG = ("token-request-expiration", "reject")
TWO_HOURS = plain_claims(exp=ISSUED + 7200)
SECRET_BOUND = plain_claims(**{
    "kubernetes.io": {"namespace": "demo", "serviceaccount": {"name": "app"}, "secret": {"name": "x"}},
})  # fmt: skip


def decision(claims, document="", labels=frozenset()) -> Decision | None:
    return check_against_policy(parse_token(unsigned({"alg": "RS256"}, claims)), policy(HEAD + document), NOW, labels)


CASES = {
    "an hour": (plain_claims(), "", ALLOWED, [UNBOUND]),
    "two hours": (TWO_HOURS, "", DENIED, [TOO_LONG, UNBOUND]),
    "two hours where they are allowed": (
        TWO_HOURS, "tokens: {maxRequestExpirationSeconds: 7200}\n", ALLOWED, [UNBOUND],
    ),
    "two hours where that is only warned of": (
        TWO_HOURS, "mode: warn\n", WARNED, [("token-request-expiration", "warn"), UNBOUND],
    ),
    "bound to a Secret": (SECRET_BOUND, "rules: {token-request-binding: reject}\n", ALLOWED, []),
    "bound to nothing where it has to be": (
        plain_claims(), "rules: {token-request-binding: reject}\n", DENIED, [("token-request-binding", "reject")],
    ),
    "a pod's year": (pod_claims(), "", DENIED, [TOO_LONG]),
    "without end": (plain_claims(exp=None), "tokens: {maxExpirationSeconds: 31536000}\n", DENIED, [TOO_LONG, UNBOUND]),
    "legacy": (legacy_claims(), "", DENIED, [("legacy-token-secret", "reject")]),
    "an audience that is not allowed": (
        plain_claims(aud=[VAULT]), "tokens: {audiences: {allowed: ['https://*.corp.example.com']}}\n",
        DENIED, [("token-request-audience", "reject"), UNBOUND],
    ),
    "an audience that is allowed": (
        plain_claims(aud=[VAULT]), "tokens: {audiences: {allowed: ['https://*.example.com']}}\n", ALLOWED, [UNBOUND],
    ),
    "its issuer as its audience": (
        plain_claims(iss="https://issuer.example.net", aud=["https://issuer.example.net"]),
        "tokens: {audiences: {allowed: ['https://*.corp.example.com']}}\n", ALLOWED, [UNBOUND],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("claims", "document", "outcome", "findings"), CASES.values(), ids=CASES)
def test_token_is_evaluated_like_its_request(claims, document, outcome, findings) -> None:
    inspected = decision(claims, document)
    assert inspected.outcome is outcome
    assert [(finding.rule, finding.action) for finding in inspected.findings] == findings


def test_override_by_label_applies_if_the_label_is_given() -> None:
    document = "overrides:\n- {namespaceLabels: {tier: x}, mode: audit}\n"
    assert decision(TWO_HOURS, document).outcome is DENIED
    assert decision(TWO_HOURS, document, frozenset({("tier", "x")})).outcome is ALLOWED


def test_exemption_of_the_account_is_reported() -> None:
    exempt = "{rules: ['*'], namespaces: [demo], serviceAccounts: [app], reason: INFRA-1, until: never}"
    inspected = decision(TWO_HOURS, f"exemptions:\n- {exempt}\n")
    assert inspected.outcome is ALLOWED
    assert [rule for rule, _ in inspected.exemptions] == ["token-request-expiration", "token-request-binding"]


def test_token_of_kube_system_is_left_alone() -> None:
    whose = {"namespace": "kube-system", "serviceaccount": {"name": "app"}}
    inspected = decision(plain_claims(exp=ISSUED + 7200, **{"kubernetes.io": whose}))
    assert (inspected.outcome, inspected.note) == (ALLOWED, "namespace kube-system is excluded")


def test_other_token_is_not_evaluated() -> None:
    assert decision({"sub": "jane"}) is None
