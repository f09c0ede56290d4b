"""The requests of the self-probe, what the policy makes of them, and what each answer proves."""

import datetime as dt
import itertools

import pytest

from webhook.core.cluster_state import ClusterState
from webhook.core.decision import Outcome
from webhook.core.dry_run import DryRunAnswer
from webhook.core.policy.loader import read_policy
from webhook.status.probe import ProbePod, ProbeResult, check_answer, expect, is_unlocked, probe_pod

NOW = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
NAMESPACE = "tokenguard-probe"
DENIED, PATCHED, WARNED, ALLOWED = Outcome.DENIED, Outcome.PATCHED, Outcome.WARNED, Outcome.ALLOWED
BY_WEBHOOK = 'HTTP 403: admission webhook "pods.validate.tokenguard.svc" denied the request: token-audience: ...'
BY_ANOTHER = 'HTTP 403: admission webhook "validate.kyverno.svc-fail" denied the request: no labels'
BY_QUOTA = 'HTTP 403: pods "x" is forbidden: exceeded quota: nothing, requested: pods=1, used: pods=0, limited: pods=0'
BY_RBAC = 'HTTP 403: pods is forbidden: User "u" cannot create resource "pods" in API group "" in the namespace "x"'
FAILED = 'HTTP 500: Internal error: failed calling webhook "pods.validate.tokenguard.svc": failed to call webhook: x509'
SUCCESS, NOT_ENFORCED, ERROR = ProbeResult.SUCCESS, ProbeResult.NOT_ENFORCED, ProbeResult.ERROR


def expected(pod, rest="", user="", namespace=NAMESPACE):
    policy = read_policy(f"apiVersion: tokenguard/v1\nkind: TokenPolicy\n{rest}\n".encode())
    manifest = probe_pod(pod, namespace, policy.in_namespace(namespace, frozenset()).tokens)
    return expect(manifest, policy, ClusterState(), NOW, user)


EXEMPTION = """\
exemptions:
- {rules: ["*"], users: ["system:serviceaccount:tokenguard:*"], reason: r, until: never}"""
POLICIES = {
    "default": ("", DENIED, PATCHED),
    "warn": ("mode: warn", WARNED, WARNED),
    "audit": ("mode: audit", ALLOWED, ALLOWED),
    "API server token kept": ("apiServerToken: {expiration: keep}", DENIED, PATCHED),
    "audiences allowed by globs": ("tokens: {audiences: {allowed: ['https://*.example.com']}}", DENIED, PATCHED),
    "audience by default": ("tokens: {audiences: {default: https://a.example.com}}", DENIED, PATCHED),
    "no audience required": ("tokens: {audiences: {required: false}}", DENIED, PATCHED),
    "nothing rejected": ("rules: {inject: off, token-audience: off}", ALLOWED, PATCHED),
    "expiration rejected": ("rules: {token-expiration: reject}", DENIED, DENIED),
    "override": ("overrides: [{namespaces: ['*-probe'], mode: audit}]", ALLOWED, ALLOWED),
    "override elsewhere": ("overrides: [{namespaces: ['shop-*'], mode: audit}]", DENIED, PATCHED),
}


@pytest.mark.parametrize(("rest", "denied", "patched"), POLICIES.values(), ids=POLICIES)
def test_expectation_is_what_the_policy_says(rest, denied, patched) -> None:
    assert expected(ProbePod.DENY, rest).outcome is denied
    assert expected(ProbePod.PATCH, rest).outcome is patched


def test_expectation_depends_on_the_user_who_probes() -> None:
    assert expected(ProbePod.DENY, EXEMPTION).outcome is DENIED
    assert expected(ProbePod.DENY, EXEMPTION, user="system:serviceaccount:tokenguard:tokenguard").outcome is ALLOWED


def test_pods_of_the_probe_comply_with_the_restricted_standard() -> None:
    for pod in ProbePod:
        policy = read_policy(b"apiVersion: tokenguard/v1\nkind: TokenPolicy\n")
        spec = probe_pod(pod, NAMESPACE, policy.tokens)["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]} == {"projected"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip


def answer(message="", warnings=(), status=403):
    return DryRunAnswer(status, message, tuple(warnings))


def result(pod, rest, given):
    return check_answer(pod, expected(pod, rest), given).result


@pytest.mark.parametrize(
    ("message", "status", "proven"),
    [
        (BY_WEBHOOK, 403, SUCCESS),
        (BY_QUOTA, 403, NOT_ENFORCED),
        ("", 201, NOT_ENFORCED),
        (BY_ANOTHER, 403, ERROR),
        (BY_RBAC, 403, ERROR),
        (FAILED, 500, ProbeResult.UNREACHABLE),
        ("unable to connect to the server: timed out", 0, ERROR),
        ("HTTP 429: too many requests", 429, ERROR),
    ],
)
def test_pod_that_must_be_denied(message, status, proven) -> None:
    assert result(ProbePod.DENY, "", answer(message, status=status)) is proven


@pytest.mark.parametrize("rest", ["", "mode: warn"])
def test_pod_to_be_patched_or_warned_about_needs_its_warnings(rest) -> None:
    warnings = expected(ProbePod.PATCH, rest).warnings
    assert warnings
    assert result(ProbePod.PATCH, rest, answer(BY_QUOTA, ["of another webhook", *warnings])) is SUCCESS
    assert result(ProbePod.PATCH, rest, answer(BY_QUOTA, [f"{text} (see the wiki)" for text in warnings])) is SUCCESS
    assert result(ProbePod.PATCH, rest, answer("", warnings, 201)) is SUCCESS
    for remaining in itertools.combinations(warnings, len(warnings) - 1):
        assert result(ProbePod.PATCH, rest, answer(BY_QUOTA, remaining)) is NOT_ENFORCED
    assert result(ProbePod.PATCH, rest, answer(BY_WEBHOOK)) is NOT_ENFORCED


def test_policy_without_a_visible_change_succeeds_with_a_note() -> None:
    for pod in ProbePod:
        finding = check_answer(pod, expected(pod, "mode: audit"), answer(BY_QUOTA))
        assert (finding.result, bool(finding.reason)) == (SUCCESS, True)
        assert result(pod, "mode: audit", answer(BY_WEBHOOK)) is NOT_ENFORCED


def test_namespace_is_unlocked_if_only_a_dry_run_rejects_the_pod() -> None:
    assert is_unlocked(answer(status=201))
    assert not is_unlocked(answer(BY_QUOTA))
