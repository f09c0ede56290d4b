"""Pod templates of any kind, and warnings about pods without containers."""

import json

import pytest

from tests.check.runs import LEGACY_SECRET, checked, policy
from tests.policies import HEAD
from webhook.check import fix
from webhook.check.report import CheckReport
from webhook.core.decision import Outcome

POD = {"spec": {"containers": [{"name": "a", "image": "b"}]}}
LONG = {"spec": {**POD["spec"], "volumes": [{"name": "t", "projected": {"sources": [
    {"serviceAccountToken": {"path": "t", "audience": "vault", "expirationSeconds": 86400}},
]}}]}}  # fmt: skip
SOURCE = "spec.volumes[0].projected.sources[0]"
RUNNER_HEAD = "apiVersion: example.com/v1\nkind: Runner\nmetadata: {name: a}\n"
READS_LEGACY = {"name": "a", "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "robot-token", "key": "t"}}}]}
RUNNER = "{apiGroup: example.com, kind: Runner, template: /spec/template}"


def checked_spec(spec: object, kind: str = "Runner", group: str = "example.com", workloads: str = "") -> CheckReport:
    head = f"apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: a}}\n"
    return checked(f"{head}spec: {json.dumps(spec)}\n", under=policy(f"{HEAD}workloads: [{workloads}]\n"))


TEMPLATES = {
    "in maps": ({"template": LONG}, ["spec.template"]),
    "without an image": ({"template": {"spec": LONG["spec"] | {"containers": [{"name": "a"}]}}}, ["spec.template"]),
    "with init containers alone": (
        {"template": {"spec": {"initContainers": [{"name": "a"}], "volumes": LONG["spec"]["volumes"]}}},
        ["spec.template"],
    ),
    "in a list": ({"jobs": [{"template": {"spec": {"template": LONG}}}]}, ["spec.jobs[0].template.spec.template"]),
    "in both": ({"workers": [{"template": LONG}], "template": LONG}, ["spec.template", "spec.workers[0].template"]),
    "one of two": ({"template": POD, "worker": LONG}, ["spec.worker"]),
    "below a key with a slash": ({"a/b": LONG}, ["spec[a/b]"]),
}


@pytest.mark.parametrize("entry", ["", RUNNER])
@pytest.mark.parametrize(("spec", "paths"), TEMPLATES.values(), ids=TEMPLATES)
def test_check_templates_of_any_kind_are_evaluated(spec: object, paths: list[str], entry: str) -> None:
    report = checked_spec(spec, workloads=entry)
    assert sorted(finding.path for finding in report.findings) == [f"{path}.{SOURCE}" for path in paths]
    assert {finding.changes for finding in report.findings} == {("serviceAccountToken.expirationSeconds: 3600",)}
    assert (report.exit_status, report.warnings, report.not_evaluated) == (1, [], [])
    assert [report.summary.objects, *report.summary.outcomes.values()] == [1, 0, 1, 0, 0]


def test_check_templates_in_a_list_are_all_patched() -> None:
    report = checked_spec({"workers": [{"template": LONG}] * 3, "template": POD}, "RayCluster", "ray.io")
    after = "".join(text for file in fix.fixed_files(report) for text in [file.after])
    assert (after.count("3600"), after.count("86400")) == (3, 0)


def test_check_most_severe_template_decides() -> None:
    pods = [POD, LONG, {"spec": POD["spec"] | {"containers": [READS_LEGACY]}}]
    report = checked(f"{LEGACY_SECRET}---\n{RUNNER_HEAD}spec: {json.dumps({'pods': pods})}\n")
    runner = report.evaluations[-1]
    assert (runner.title, runner.outcome) == ("Runner/a", Outcome.DENIED)
    rules = [finding.rule for finding in report.findings if finding.evaluation is runner]
    assert sorted(rules) == ["legacy-token-reference", "token-expiration"]


def test_check_counts_templates_as_mode_enforce_would_decide() -> None:
    report = checked(f"{RUNNER_HEAD}spec: {json.dumps({'pods': [POD, LONG]})}\n", under=policy(f"{HEAD}mode: audit\n"))
    assert report.summary.enforced == {Outcome.PATCHED: 1}


def test_check_unreadable_template_is_a_finding() -> None:
    pods = [{"spec": {"containers": [{"name": "a", "env": {"A": "b"}}]}}, LONG]
    report = checked(f"{RUNNER_HEAD}spec:\n  pods: {json.dumps(pods)}\n")
    unreadable, long = report.findings
    assert (unreadable.rule, unreadable.path) == ("unreadable-object", "spec.pods[0].spec.containers[0].env")
    assert unreadable.message.startswith("must be a list")
    assert (unreadable.line, long.rule, report.evaluations[0].outcome) == (5, "token-expiration", Outcome.DENIED)


def test_check_unreadable_object_is_reported_once() -> None:
    spec = {"template": {"spec": {**POD["spec"], "volumes": 3}}}
    report = checked_spec(spec, "Rollout", "argoproj.io")
    assert ([finding.rule for finding in report.findings], report.warnings) == (["unreadable-object"], [])


def test_check_placeholder_in_one_of_two_templates_is_named() -> None:
    entry = policy(f"{HEAD}workloads: [{RUNNER}]\n")
    pods = {"template": {"spec": {**POD["spec"], "volumes": "${VOLUMES}"}}, "other": LONG}
    [problem] = checked(f"{RUNNER_HEAD}spec: {json.dumps(pods)}\n", under=entry).problems
    assert problem.message.startswith("Runner/a: spec.template.spec.volumes is the placeholder ${VOLUMES}; substitute")
    assert checked(f"{RUNNER_HEAD}spec: {json.dumps(pods)}\n").problems == [problem]


def test_check_found_template_is_excluded_in_kube_system() -> None:
    pods = [LONG, {"spec": {**POD["spec"], "volumes": 3}}]
    text = RUNNER_HEAD.replace("a}", "a, namespace: kube-system}") + f"spec: {json.dumps({'pods': pods})}\n"
    report = checked(text)
    assert [skipped.reason for skipped in report.not_evaluated] == ["namespace kube-system"]
    assert (report.findings, report.warnings) == ([], [])


USUAL = {
    "of Kubernetes": ("Service", "v1", {}),
    "OpenShift's": ("Template", "v1", {}),
    "with old revisions": ("ControllerRevision", "apps/v1", {"template": POD}),
    "without a template": ("Runner", "example.com/v1", {"template": {"spec": {"containers": 3}}}),
    "without containers": ("Runner", "example.com/v1", {"template": {"spec": {"containers": []}}}),
    "with containers of its own": ("Prometheus", "monitoring.coreos.com/v1", POD["spec"]),
    "a Template to be processed": ("Template", "template.openshift.io/v1", {"template": LONG}),
    "with an example of a pod": ("CustomResourceDefinition", "apiextensions.k8s.io/v1", {"example": LONG}),
    "with reviewed pods": ("AdmissionReview", "admission.k8s.io/v1", {"object": POD}),
    "with an expression": (
        "ClusterPolicy",
        "kyverno.io/v1",
        {"spec": {"containers": [{"name": "{{ element.name }}"}]}},
    ),
    "with a pattern": (
        "ClusterPolicy",
        "kyverno.io/v1",
        {"rules": [{"pattern": {"spec": {"containers": [{"image": "!*:latest"}]}}}]},
    ),
}


@pytest.mark.parametrize(("kind", "version", "spec"), USUAL.values(), ids=USUAL)
def test_check_kind_without_pod_template_is_not_evaluated(kind: str, version: str, spec: object) -> None:
    report = checked(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {json.dumps(spec)}\n")
    assert (report.warnings, report.problems, report.summary.objects) == ([], [], 0)


INCOMPLETE = {
    "no spec": ("apps/v1", "Deployment", "{}", "spec"),
    "no template": ("apps/v1", "Deployment", "{spec: {replicas: 3}}", "spec.template"),
    "no spec of the template": ("batch/v1", "Job", "{spec: {template: {metadata: {}}}}", "spec.template.spec"),
    "null containers": (
        "apps/v1",
        "StatefulSet",
        "{spec: {template: {spec: {volumes: [], containers: null}}}}",
        "spec.template.spec.containers",
    ),
    "no Job": ("batch/v1", "CronJob", "{spec: {schedule: '@daily'}}", "spec.jobTemplate"),
    "a pod": ("v1", "Pod", "{spec: {containers: []}}", "spec.containers"),
    "a PodTemplate": ("v1", "PodTemplate", "{spec: {}}", "template"),
    "a removed version": ("extensions/v1beta1", "DaemonSet", "{spec: {}}", "spec"),
}


@pytest.mark.parametrize(("version", "kind", "rest", "missing"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_check_object_without_containers_is_warned_about(version: str, kind: str, rest: str, missing: str) -> None:
    head = f"{{apiVersion: {version}, kind: {kind}, metadata: {{name: a}}, "
    [warning] = [each for each in checked(head + rest[1:]).warnings if "serves" not in each.message]
    assert warning.message.startswith(f"{kind}/a: has no {missing}; the API server refuses such an object; add it")
    assert warning.line == 1


COMPLETE = {
    "Rollout that refers to a Deployment": "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, spec: {workloadRef: {}}}",
    "in kube-system": "{apiVersion: v1, kind: Pod, metadata: {namespace: kube-system}}",
    "unreadable": "{apiVersion: v1, kind: Pod, spec: 3}",
}


@pytest.mark.parametrize("manifest", COMPLETE.values(), ids=COMPLETE)
def test_check_without_reason_to_have_containers_has_no_warning(manifest: str) -> None:
    assert checked(manifest).warnings == []


def test_check_misspelt_field_is_the_only_warning() -> None:
    [warning] = checked("{apiVersion: apps/v1, kind: Deployment, spec: {templat: {}}}").warnings
    assert 'unknown field "templat"' in warning.message


POD_TEMPLATE = """\
spec:
  rule: {template: {spec: {containers: [{name: c, image: i}], volumes: [{name: s, secret: {secretName: key}},
    {name: t, projected: {sources: [{serviceAccountToken: {audience: a, path: t, expirationSeconds: 7200}}]}}]}}}
"""
DEFINITION = """\
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: x}
spec: {group: example.com, names: {kind: %s}, scope: %s}
"""
IN_DEFAULT = policy(f"{HEAD}overrides: [{{namespaces: [default], rules: {{token-expiration: off}}}}]\n")


@pytest.mark.parametrize(
    ("kind", "definition", "namespace"),
    [
        pytest.param("ClusterPolicy", "", "", id="the name of the kind"),
        pytest.param("Policy", "", "default", id="no definition"),
        pytest.param("Cluster", "", "default", id="a kind that is named Cluster"),
        pytest.param("Policy", DEFINITION % ("Policy", "Cluster"), "", id="a cluster-scoped definition"),
        pytest.param("ClusterClass", DEFINITION % ("ClusterClass", "Namespaced"), "default", id="a namespaced one"),
        pytest.param("ClusterPolicy", DEFINITION % ("ClusterPolicy", 5), "", id="an invalid definition"),
    ],
)
def test_namespace_of_custom_kinds_follows_their_scope(kind: str, definition: str, namespace: str) -> None:
    head = f"apiVersion: example.com/v1\nkind: {kind}\nmetadata: {{name: x}}\n"
    report = checked(head + POD_TEMPLATE + definition, under=IN_DEFAULT)
    assert (report.evaluations[0].namespace, report.evaluations[0].is_evaluated) == (namespace, True)
    assert len(report.findings) == (0 if namespace else 1)  # the override of another namespace does not apply
    assert list(report.missing_secrets) == [(namespace, "key")]


def test_namespace_of_a_cluster_scoped_object_that_names_one() -> None:
    head = "apiVersion: example.com/v1\nkind: ClusterPolicy\nmetadata: {name: x, namespace: default}\n"
    assert checked(head + POD_TEMPLATE, under=IN_DEFAULT).findings == []


def test_secret_of_a_pod_in_an_unknown_namespace_is_not_missing() -> None:
    head = "apiVersion: example.com/v1\nkind: ClusterPolicy\nmetadata: {name: x}\n"
    secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: shop}\n"
    assert checked(head + POD_TEMPLATE + secret).missing_secrets == {}
