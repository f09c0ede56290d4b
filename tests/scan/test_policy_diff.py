"""What another policy changes for pods, legacy Secrets and accounts: whatever differs is a change."""

import pytest

from tests.scan.small_cluster import INJECT, VAULT, Small, account, live, named_secret, secret, spec, token
from webhook.core.decision import Outcome
from webhook.core.policy.model import Action
from webhook.scan.evaluation_result import Change, EvaluationResult, ReportedFinding
from webhook.scan.policy_diff import change_between

HOSTPATH = [{"name": "h", "hostPath": {"path": "/"}}]
BARE = spec(HOSTPATH, automountServiceAccountToken=False)
CAPPED = live() | {"volumes": [*live()["volumes"], *HOSTPATH]}
READS = spec(container=named_secret("old"))
STRICT, SILENT = "rules: {kubelet-hostpath: reject}\n", 'rules: {kubelet-hostpath: "off"}\n'
UNCAPPED = 'rules: {token-expiration: "off"}\n'
OTHER = INJECT.replace(VAULT, "https://other.example.com")
SHORT = INJECT.replace("mountPath", "expirationSeconds: 1800, mountPath")
NAMED = INJECT.replace("mountPath", "env: VAULT, mountPath")
PATCHING = "rules: {legacy-token-reference: patch}\n"
MAX = "tokens: {maxExpirationSeconds: 600}\n"
AUDIT = "mode: audit\n"


@pytest.mark.parametrize(("pod", "now", "then", "change"), [
    (BARE, "", STRICT, Change.NEWLY_DENIED),
    (spec(HOSTPATH, named_secret("old")), "", STRICT, Change.DENIED_FOR_MORE),
    (spec(HOSTPATH, named_secret("old")), STRICT, "", Change.DENIED_DIFFERENTLY),
    (READS, "", INJECT, Change.STILL_DENIED),
    (CAPPED, STRICT, STRICT + MAX, Change.STILL_DENIED),
    (BARE, STRICT, "", Change.NEWLY_WARNED),
    (BARE, STRICT, SILENT, Change.NEWLY_ALLOWED),
    (READS, "", "rules: {legacy-token-reference: warn}\n", Change.NEWLY_PATCHED),
    (live(), UNCAPPED, "", Change.NEWLY_PATCHED),
    (live(), "", INJECT, Change.NEWLY_PATCHED),
    (live(), "", UNCAPPED, Change.NO_LONGER_PATCHED),
    (CAPPED, "", AUDIT, Change.NO_LONGER_PATCHED),
    (live(), INJECT, "", Change.PATCHED_DIFFERENTLY),
    (live(), INJECT, OTHER, Change.PATCHED_DIFFERENTLY),
    (live(), INJECT, SHORT, Change.PATCHED_DIFFERENTLY),
    (live(), INJECT, NAMED, Change.PATCHED_DIFFERENTLY),
    (live(), "", MAX, Change.PATCHED_DIFFERENTLY),
    (CAPPED, SILENT, "", Change.NEWLY_WARNED),
    (CAPPED, SILENT, INJECT, Change.NEWLY_PATCHED),
    (CAPPED, "", SILENT, Change.NO_LONGER_WARNED),
    (BARE, "", SILENT, Change.NEWLY_ALLOWED),
    (BARE, "mode: warn\n" + STRICT, "", Change.WARNED_DIFFERENTLY),
    (CAPPED, SILENT, "rules: {kubelet-hostpath: audit}\n", Change.NEWLY_AUDITED),
    (CAPPED, "rules: {kubelet-hostpath: audit}\n", SILENT, Change.NO_LONGER_AUDITED),
    (live(), AUDIT, AUDIT + MAX, Change.AUDITED_DIFFERENTLY),
    (live(), "", STRICT, Change.UNCHANGED),
    (live(), "", "tokens: {maxExpirationSeconds: 7200}\n", Change.UNCHANGED),
    (READS, "", PATCHING, Change.UNCHANGED),
    (READS, "mode: warn\n", "mode: warn\n" + PATCHING, Change.UNCHANGED),
    (live(), INJECT, INJECT.replace("/vault}", "/vault/}"), Change.UNCHANGED),
    (CAPPED, INJECT, INJECT, Change.UNCHANGED),
], ids=[
    "rejected", "rejected for more", "rejected for less", "rejected, injected or not", "rejected, capped to less",
    "not rejected any more but warned of", "nor warned of", "nor, but patched",
    "patched", "injected besides", "no longer patched", "audited instead of patched",
    "an injection is gone", "an injection is for another", "an injected token lives shorter",
    "an injection sets a variable", "capped to less",
    "warned of besides the cap", "warned of and injected", "not warned of any more", "fine",
    "what is warned of would not be rejected any more", "audited besides", "not audited any more", "audited otherwise",
    "a rule that finds nothing", "a longer maximum with the same cap",
    "patch instead of reject, of what no patch repairs", "the same in mode warn",
    "the same path", "the same policy",
])  # fmt: skip
def test_change_between_two_policies(pod, now, then, change) -> None:
    [owner] = Small(secret("old")).pod("a", pod).scan(now, then).workloads
    assert owner.change is change


def test_change_of_a_workload_is_the_most_severe() -> None:
    small = Small(secret("old")).pod("a", live()).pod("b", spec(HOSTPATH)).pod("c", READS)
    changes = [owner.change for owner in small.scan(UNCAPPED, STRICT).workloads]
    assert changes == [Change.NEWLY_PATCHED, Change.NEWLY_DENIED, Change.STILL_DENIED]
    deployed = Small().deployment("web", spec(HOSTPATH)).scan(UNCAPPED, STRICT).workloads
    assert [owner.change for owner in deployed] == [Change.NEWLY_DENIED]


def test_change_of_secrets_and_accounts_is_reported() -> None:
    used = secret("old", last_used="2026-11-20")
    small = Small(used, secret("unused"), accounts=(account("app", secrets=[{"name": "old"}]),))
    lax = "rules: {legacy-token-secret: warn, legacy-token-reference: audit}\n"
    report = small.scan("", lax)
    assert [secret.change for secret in report.legacy_secrets] == [Change.NEWLY_WARNED, Change.UNCHANGED]
    assert [account.change for account in report.accounts] == [Change.NEWLY_ALLOWED]
    assert {secret.change for secret in small.scan("", "").legacy_secrets} == {Change.UNCHANGED}


def test_change_of_the_advice_alone_is_none() -> None:
    report = Small(secret("old", last_used="2026-11-20")).scan("", "tokens: {maxExpirationSeconds: 1800}\n")
    [old] = report.legacy_secrets
    assert old.result.findings != old.simulated.findings
    assert old.change is Change.UNCHANGED


def test_change_of_a_value_with_a_semicolon_is_one() -> None:
    def result(audience: str) -> EvaluationResult:
        detail = f'is for "{audience}"; use another'
        finding = ReportedFinding("token-audience", Action.REJECT, Action.REJECT, "spec", detail, authored=True)
        return EvaluationResult(Outcome.DENIED, (finding,))

    assert change_between(result("a; b"), result("a; c")) is Change.DENIED_DIFFERENTLY
    assert change_between(result("a; b"), result("a; b")) is Change.UNCHANGED


def test_change_shorter_maximum_is_patched_differently() -> None:
    own = spec([token(audience=VAULT, expirationSeconds=86400)], automountServiceAccountToken=False)
    [owner] = Small().pod("a", own).scan("", MAX).workloads
    assert owner.change is Change.PATCHED_DIFFERENTLY
