"""Secrets that pods use, and Namespaces whose labels matter, that are not among the manifests."""

import pytest

from tests.check.runs import LEGACY_POD, LEGACY_SECRET, checked, json_document, policy, text_lines
from webhook.check.report import CheckReport

POD = LEGACY_POD.replace("{name: reader}", "{name: reader, namespace: shop}")


def missing(report: CheckReport) -> list[str]:
    return [line for line in text_lines(report) if "not among the manifests" in line]


def test_missing_secret_is_named_in_the_summary() -> None:
    report = checked(POD)
    [line] = missing(report)
    assert line.startswith(
        "1 Secret is referred to but not among the manifests: shop/robot-token; to find legacy Secrets"
    )
    assert json_document(report)["missingSecrets"] == [{"namespace": "shop", "name": "robot-token"}]
    assert report.exit_status == 0


def test_missing_secrets_of_volumes_and_templates_count() -> None:
    volumes = "volumes: [{name: a, secret: {secretName: a}}, {name: b, projected: {sources: [{secret: {name: b}}]}}]"
    containers = "initContainers: [{name: i, envFrom: [{secretRef: {name: c}}]}]"
    spec = f"{{template: {{spec: {{{containers}, {volumes}}}}}}}"
    report = checked(f"{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: d}}, spec: {spec}}}\n", POD)
    assert [*report.missing_secrets] == [("default", "a"), ("default", "b"), ("default", "c"), ("shop", "robot-token")]
    [line] = missing(report)
    assert ": default/a, default/b, default/c, and 1 more (-v lists them);" in line
    assert "shop/robot-token" in "".join(text_lines(report, verbose=True))


ELSEWHERE = {
    "among the manifests": (LEGACY_SECRET.replace("  name:", "  namespace: shop\n  name:"), ""),
    "of another type": ("apiVersion: v1\nkind: Secret\nmetadata: {name: robot-token, namespace: shop}\n", ""),
    "the rule is off": ("", "rules: {legacy-token-reference: off}\n"),
}


@pytest.mark.parametrize(("secret", "rules"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_secret_is_not_missing(secret: str, rules: str) -> None:
    head = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
    assert missing(checked(*filter(None, [secret]), POD, under=policy(head + rules))) == []


HEAD = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
BY_LABELS = "overrides: [{namespaces: [shop], namespaceLabels: {tier: prod}, mode: warn}]\n"
INJECTION = "inject: [{name: v, audience: v, mountPath: /var/run/v, namespaceLabels: {vault: 'yes', tier: prod}}]\n"
UNKNOWN = "the labels of namespace "
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


@pytest.mark.parametrize(
    ("rest", "labels"),
    [
        pytest.param(BY_LABELS, '"tier=prod"', id="override"),
        pytest.param(INJECTION, '"tier=prod", "vault=yes"', id="injection"),
        pytest.param(BY_LABELS + INJECTION, '"tier=prod", "vault=yes"', id="both"),
    ],
)
def test_check_unknown_labels_that_matter_are_a_warning(rest: str, labels: str) -> None:
    report = checked(POD, POD, under=policy(HEAD + rest))
    [warning] = report.warnings
    advice = "add the Namespace, or use --objects with the output of 'tokenguard objects'"
    assert warning.message == f'{UNKNOWN}"shop" are unknown, and the policy selects by {labels}; {advice}'
    assert (warning.line, report.exit_status) == (1, 0)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        pytest.param(POD + "---\n" + NAMESPACE, BY_LABELS, id="Namespace is there"),
        pytest.param(POD, BY_LABELS.replace("[shop]", "[bank]"), id="another name"),
        pytest.param(POD, f"overrides: [{{namespaces: [shop], mode: warn}}, {BY_LABELS[12:]}", id="shadowed"),
        pytest.param(POD.replace("shop", "kube-system"), BY_LABELS.replace("[shop]", "['*']"), id="excluded"),
        pytest.param(POD, "", id="no labels"),
    ],
)
def test_check_unknown_labels_that_do_not_matter_are_no_warning(text: str, rest: str) -> None:
    assert [each for each in checked(text, under=policy(HEAD + rest)).warnings if UNKNOWN in each.message] == []
