"""Warnings about pod templates that are not evaluated, and about pods without containers."""

import json

import pytest

from tests.check.runs import checked, policy
from tests.policies import HEAD
from webhook.check.report import CheckReport

POD = {"spec": {"containers": [{"name": "a", "image": "b"}]}}
ADD = "add to the policy's workloads: "
RUNNER = "{apiGroup: example.com, kind: Runner, template: /spec/template}"
ONE = "a policy can name one template of a kind, outside of lists; to check "
COPY_IT = f"{ONE}it, copy it into a PodTemplate"
COPY_OTHERS = f"{ONE}the others, copy them into PodTemplates"
WORKERS = [f"spec.workers[{number}].template" for number in range(3)]
RAY = {"headGroupSpec": {"template": POD}, "workerGroupSpecs": [{"template": POD}] * 4}


def checked_spec(spec: object, kind: str = "Runner", group: str = "example.com", workloads: str = "") -> CheckReport:
    head = f"apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: a}}\n"
    return checked(f"{head}spec: {json.dumps(spec)}\n", under=policy(f"{HEAD}workloads: [{workloads}]\n"))


def messages(report: CheckReport) -> list[str]:
    return [warning.message for warning in report.warnings]


UNLISTED = {
    "in maps": ({"template": POD}, "pod template spec.template is not evaluated", f"{ADD}{RUNNER}"),
    "without an image": (
        {"podTemplate": {"spec": {"containers": [{"name": "a"}]}}},
        "pod template spec.podTemplate is not evaluated",
        f"{ADD}{RUNNER.replace('template: /spec/t', 'template: /spec/podT')}",
    ),
    "with init containers alone": (
        {"template": {"spec": {"initContainers": [{"name": "a"}]}}},
        "pod template spec.template is not evaluated",
        f"{ADD}{RUNNER}",
    ),
    "in a list": (
        {"jobs": [{"template": {"spec": {"template": POD}}}]},
        "pod template spec.jobs[0].template.spec.template is not evaluated",
        COPY_IT,
    ),
    "in both": (
        {"workers": [{"template": POD}], "template": POD},
        "pod templates spec.workers[0].template and spec.template are not evaluated",
        f"{ADD}{RUNNER}; {COPY_OTHERS}",
    ),
    "two in maps": (
        {"template": POD, "worker": POD},
        "pod templates spec.template and spec.worker are not evaluated",
        f"{ADD}{RUNNER}; {COPY_OTHERS}",
    ),
    "many": (
        {"workers": [{"template": POD}] * 5},
        f"pod templates {', '.join(WORKERS)} and 2 more are not evaluated",
        f"{ONE}them, copy them into PodTemplates",
    ),
    "below a key with a slash": (
        {"a/b": POD},
        "pod template spec[a/b] is not evaluated",
        f"{ADD}{RUNNER.replace('/template', '/a~1b')}",
    ),
}


@pytest.mark.parametrize(("spec", "what", "advice"), UNLISTED.values(), ids=UNLISTED)
def test_check_templates_of_unlisted_kind_are_one_warning(spec: object, what: str, advice: str) -> None:
    report = checked_spec(spec)
    assert messages(report) == [f"Runner/a: {what}; {advice}"]
    assert report.exit_status == 0


def test_check_warning_about_template_is_at_its_key() -> None:
    text = "apiVersion: example.com/v1\nkind: Runner\nspec:\n  template:\n    spec: {containers: [{name: a}]}\n"
    [warning] = checked(text).warnings
    assert (warning.line, warning.column) == (4, 3)


def test_check_listed_kind_is_warned_about_other_templates() -> None:
    entry = "{apiGroup: ray.io, kind: RayCluster, template: /spec/headGroupSpec/template}"
    report = checked_spec(RAY, "RayCluster", "ray.io", entry)
    [message] = messages(report)
    workers = ", ".join(WORKERS).replace("workers", "workerGroupSpecs")
    assert message.startswith(f"RayCluster/a: pod templates {workers} and 1 more are not evaluated; {ONE}them")
    assert len(report.evaluations) == 1
    assert report.evaluations[0].is_evaluated


def test_check_listed_kind_without_its_template_is_warned_about() -> None:
    [message] = messages(checked_spec({"worker": POD}, workloads=RUNNER))
    entry = RUNNER.replace("/template", "/worker")
    assert message.endswith(f"is not evaluated; replace the entry in the policy's workloads: {entry}")


def test_check_listed_kind_with_one_template_has_no_warning() -> None:
    assert messages(checked_spec({"template": POD}, workloads=RUNNER)) == []


def test_check_well_known_kind_is_warned_about_other_templates() -> None:
    [message] = messages(checked_spec({"template": POD, "preview": POD}, "Rollout", "argoproj.io"))
    assert message == f"Rollout/a: pod template spec.preview is not evaluated; {COPY_IT}"


USUAL = {
    "of Kubernetes": ("Service", "v1", {}),
    "OpenShift's": ("Template", "v1", {}),
    "with old revisions": ("ControllerRevision", "apps/v1", {"template": POD}),
    "without a template": ("Runner", "example.com/v1", {"template": {"spec": {"containers": 3}}}),
    "without containers": ("Runner", "example.com/v1", {"template": {"spec": {"containers": []}}}),
    "with containers of its own": ("Prometheus", "monitoring.coreos.com/v1", POD["spec"]),
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
def test_check_kind_without_pod_template_has_no_warning(kind: str, version: str, spec: object) -> None:
    report = checked(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {json.dumps(spec)}\n")
    assert (report.warnings, report.problems) == ([], [])


def test_check_template_in_kube_system_has_no_warning() -> None:
    text = "apiVersion: argoproj.io/v1\nkind: Rollout\nmetadata: {name: a, namespace: kube-system}\nspec: "
    assert checked(text + json.dumps({"template": POD, "other": POD})).warnings == []


def test_check_copied_template_is_evaluated() -> None:
    volumes = [{"name": "a", "hostPath": {"path": "/var/lib/kubelet"}}]
    template = {"spec": {**POD["spec"], "volumes": volumes}}
    text = f"apiVersion: v1\nkind: PodTemplate\nmetadata: {{name: a}}\ntemplate: {json.dumps(template)}\n"
    assert [finding.rule for finding in checked(text).findings] == ["kubelet-hostpath"]


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
    warning = checked(head + rest[1:]).warnings[-1]
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
