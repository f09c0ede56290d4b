"""Kinds that are not evaluated and look as if they should be."""

import json

import pytest

from tests.check.runs import checked, text_lines
from tests.policies import HEAD

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a}]}\n"
SPEC = "{template: {spec: {containers: [{name: a, image: b}]}}}"
MISSPELT = {
    "misspelt": ("apps/v1", "Deploymnet", 'API group apps has no kind "Deploymnet"', 'did you mean "Deployment"?'),
    "in lower case": ("v1", "secret", 'the core API (v1) has no kind "secret"', 'did you mean "Secret"?'),
    "in lower case, short": ("v1", "pod", 'the core API (v1) has no kind "pod"', 'did you mean "Pod"?'),
    "in capitals": ("apps/v1", "DEPLOYMENT", 'API group apps has no kind "DEPLOYMENT"', 'did you mean "Deployment"?'),
    "in lower case, another group": (
        "v1",
        "cronjob",
        'the core API (v1) has no kind "cronjob"',
        'did you mean "CronJob" in API group batch?',
    ),
    "the core group": ("apps/v1", "Service", 'API group apps has no kind "Service"', "it is in the core API (v1)"),
    "no version": ("core", "Thing", 'the core API has no version "core"', "write v1, or GROUP/VERSION"),
    "an invented version": ("apps/v9", "Deployment", 'Deployment has no API version "apps/v9"', "use apps/v1"),
    "an invented core version": ("v2", "Pod", 'Pod has no API version "v2"', "use v1"),
    "a version without its group": ("batch", "Job", 'Job has no API version "batch"', "use batch/v1"),
    "a version that the kind never had": (
        "batch/v1beta1",
        "Job",
        'Job has no API version "batch/v1beta1"',
        "use batch/v1",
    ),
    "an invented version of extensions": (
        "extensions/v2",
        "Deployment",
        'Deployment has no API version "extensions/v2"',
        "use apps/v1",
    ),
    "an invented version of another group": (
        "authentication.k8s.io/v2",
        "TokenRequest",
        'TokenRequest has no API version "authentication.k8s.io/v2"',
        "use authentication.k8s.io/v1",
    ),
    "another group": ("v1", "Deployment", 'the core API (v1) has no kind "Deployment"', "it is in API group apps"),
}


@pytest.mark.parametrize(("version", "kind", "error", "hint"), MISSPELT.values(), ids=MISSPELT)
def test_check_kind_that_the_group_does_not_have_is_error(version: str, kind: str, error: str, hint: str) -> None:
    report = checked(f"{POD}---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {SPEC}\n")
    [problem] = report.problems
    line = 6 if "version" in error else 7
    assert (problem.message, problem.line, problem.column) == (f"{error}; {hint}", line, 1)
    assert (report.exit_status, report.warnings, report.not_evaluated) == (2, [], [])
    assert f"error: <stdin>:{line}:1: {error}; {hint}" in text_lines(report, quiet=True)


REMOVED = {
    "apps": ("apps/v1beta1", "Deployment", "apps/v1"),
    "apps, not evaluated": ("apps/v1beta2", "ControllerRevision", "apps/v1"),
    "extensions": ("extensions/v1beta1", "DaemonSet", "apps/v1"),
    "batch": ("batch/v2alpha1", "CronJob", "batch/v1"),
    "storage": ("storage.k8s.io/v1beta1", "CSIDriver", "storage.k8s.io/v1"),
}


@pytest.mark.parametrize(("version", "kind", "right"), REMOVED.values(), ids=REMOVED)
def test_check_removed_version_is_warned_about(version: str, kind: str, right: str) -> None:
    report = checked(f"{POD}---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n")
    [warning] = [each for each in report.warnings if "serves" in each.message]
    assert warning.message == f"no supported Kubernetes serves {kind} in {version}; use {right}"
    assert (warning.line, warning.column, report.exit_status) == (6, 1, 0)


def test_check_removed_version_is_evaluated() -> None:
    spec = "{template: {spec: {volumes: [{name: a, hostPath: {path: /var/lib/kubelet}}]}}}"
    report = checked(f"apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {{name: a}}\nspec: {spec}\n")
    assert [finding.rule for finding in report.findings] == ["kubelet-hostpath"]


@pytest.mark.parametrize("version", ["v1", "template.openshift.io/v1"])
def test_check_template_with_objects_is_warned_about(version: str) -> None:
    head = f"apiVersion: {version}\nkind: Template\nmetadata: {{name: a}}\n"
    [warning] = checked(f"{head}objects: [{{kind: Pod}}]\n").warnings
    assert warning.message.startswith("the objects of a Template are not evaluated; process it first: oc process ")
    assert checked(f"{head}objects: []\n").warnings == []


def test_check_invalid_policy_document_is_warned_about() -> None:
    [warning] = checked(f"{HEAD}modee: warn\n").warnings
    assert warning.message.startswith('is not a valid policy: unknown key "modee"')
    assert checked(f"{HEAD}mode: warn\n").warnings == []


def test_check_notes_say_what_objects_of_other_kinds_are_for() -> None:
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
    lines = text_lines(checked(namespace, HEAD), verbose=True)
    assert "    note: <stdin>:1: Namespace/shop: its labels are used, no rule applies to it" in lines
    assert "    note: <stdin>:5: TokenPolicy: it has no pod template, and no rule is about its kind" in lines


@pytest.mark.parametrize(
    ("version", "kind", "message"),
    [
        pytest.param("core/v1", "Pod", "API group core does not exist; Pod is in the core API (v1)", id="core"),
        pytest.param("app/v1", "Deployment", "API group app does not exist; Deployment is in API group apps", id="app"),
    ],
)
def test_kind_in_a_group_that_does_not_exist_is_an_error(version: str, kind: str, message: str) -> None:
    spec = {"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}
    report = checked(f"{{apiVersion: {version}, kind: {kind}, metadata: {{name: a}}, spec: {json.dumps(spec)}}}\n")
    [problem] = report.problems
    assert (problem.message, problem.column, report.exit_status) == (message, 2, 2)


def test_other_kind_in_a_group_without_a_dot_is_no_error() -> None:
    assert checked("{apiVersion: skaffold/v4beta1, kind: Config, metadata: {name: a}}\n").exit_status == 0
