"""Fields that Kubernetes does not have, in its own kinds."""

import msgspec
import pytest

from tests.check.runs import checked, json_document, policy, text_lines
from tests.policies import HEAD
from webhook.check.kubernetes_fields import OTHER_FIELDS
from webhook.check.unknown_fields import unknown_fields
from webhook.core.decision import Outcome
from webhook.core.k8s_types import Pod, PodSpec

DEPLOYMENT = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  template: {}\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec: {}\n"
SOURCE = "{{volumes: [{{name: t, projected: {{sources: [{}]}}}}]}}"
CONTAINER = "{{containers: [{}]}}"
WRONG = {
    "template without spec": (
        DEPLOYMENT.format("{containers: [{name: app}]}"), "spec.template",
        '"containers"; did you mean "spec.containers"?',
    ),
    "deployment without template": (
        DEPLOYMENT.format("").replace("template:", "containers:"), "spec",
        '"containers"; did you mean "template.spec.containers"?',
    ),
    "another case": (
        POD.format(CONTAINER.format("{name: app, envFrom: [{SecretRef: {name: s}}]}")), "spec.containers[0].envFrom[0]",
        '"SecretRef"; did you mean "secretRef"?',
    ),
    "lower case": (
        POD.format("{serviceaccountname: robot}"), "spec", '"serviceaccountname"; did you mean "serviceAccountName"?',
    ),
    "plural": (
        POD.format(SOURCE.format("{serviceAccountToken: {path: t, audiences: [vault]}}")),
        "spec.volumes[0].projected.sources[0].serviceAccountToken", '"audiences"; did you mean "audience"?',
    ),
    "variable without valueFrom": (
        POD.format(CONTAINER.format("{name: app, env: [{name: T, secretKeyRef: {name: s, key: token}}]}")),
        "spec.containers[0].env[0]", '"secretKeyRef"; did you mean "valueFrom.secretKeyRef"?',
    ),
    "mount": (
        POD.format("{initContainers: [{name: a, volumeMounts: [{name: t, mountpath: /t}]}]}"),
        "spec.initContainers[0].volumeMounts[0]", '"mountpath"; did you mean "mountPath"?',
    ),
    "job of a CronJob": (
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: web}\nspec: {jobTemplate: {template: {}}}\n",
        "spec.jobTemplate", '"template"; did you mean "spec.template"?',
    ),
    "like no other": (POD.format("{zzz: 1}"), "spec", '"zzz"'),
    "at the top": (POD.format("{}") + "stauts: {}\n", "", '"stauts"; did you mean "status"?'),
}  # fmt: skip


@pytest.mark.parametrize(("manifest", "within", "message"), WRONG.values(), ids=WRONG)
def test_check_warns_about_an_unknown_field(manifest: str, within: str, message: str) -> None:
    report = checked(manifest)
    [warning] = report.warnings
    kind = report.evaluations[0].title
    assert warning.message == f"{kind}: {within + ': ' if within else ''}unknown field {message}"
    assert report.problems == []


def test_unknown_field_changes_neither_outcome_nor_exit_status() -> None:
    report = checked(POD.format("{serviceaccountname: robot}"))
    assert (report.exit_status, report.evaluations[0].outcome) == (0, Outcome.ALLOWED)


def test_unknown_field_is_underlined_and_its_value_hidden() -> None:
    report = checked(POD.format(CONTAINER.format("{name: app, env: [{name: P, valeu: hunter2}]}")))
    lines = text_lines(report)
    first = '"valeu"; did you mean "value"?'
    assert lines[0] == f"warning: <stdin>:4:49: Pod/web: spec.containers[0].env[0]: unknown field {first}"
    shown, caret = lines[2].removeprefix("    4 | "), lines[3].removeprefix("      | ")
    assert shown[len(caret) - 5 : len(caret)] == "valeu"
    assert caret.strip() == "^^^^^"
    assert "hunter2" not in "\n".join(lines)
    assert text_lines(report, quiet=True) == []


MAY_BE_SECRET = [
    "{containers: [{name: app, envs: {PW: hunter2}}]}",
    "{containers: [{name: app, envs: {name: hunter2}}]}",
    "{containers: [{name: app, image: 'registry/app:hunter2'}]}",
    "{containers: [{name: app, args: [hunter2], command: [hunter2], env: [{name: P, value: hunter2}]}]}",
    "{containers: [{name: app, env: {name: hunter2}}]}",
    "{containers: [{name: app, env: hunter2}]}",
    "{containers: [hunter2]}",
    "{containers: hunter2}",
    "{containers: [{name: eyJhunter2}], volumes: [{name: v, csi: {volumeAttributes: {password: hunter2}}}]}",
]


@pytest.mark.parametrize("spec", MAY_BE_SECRET)
def test_excerpt_has_no_value_that_may_be_secret(spec: str) -> None:
    report = checked(POD.format(spec), under=policy(f"{HEAD}rules: {{api-token-automount: patch}}"))
    [finding] = report.findings
    assert finding.excerpt is not None
    assert finding.excerpt.text.startswith("spec: {")
    assert "hunter2" not in "\n".join(text_lines(report))


def test_unknown_field_in_a_list_of_a_later_document_is_located() -> None:
    item = "- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec:\n    volume: []\n"
    report = checked(POD.format("{containers: [{name: a}]}"), f"apiVersion: v1\nkind: List\nitems:\n{item}")
    [warning] = json_document(report)["warnings"]
    assert (warning["line"], warning["column"], warning["document"]) == (13, 5, 2)


def test_text_shows_the_first_warnings_and_counts_the_others() -> None:
    lines = text_lines(checked(*[POD.format("{zzz: 1}")] * 3), rows=2)
    assert sum(line.startswith("warning: ") for line in lines) == 2
    assert "and 1 more warning: --max-findings 0 shows all" in lines


def test_unknown_field_of_json_has_its_place() -> None:
    report = checked('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},\n "spec": {"volume": []}}')
    [warning] = report.warnings
    assert (warning.line, warning.column) == (2, 11)


CUSTOM = "apiVersion: example.com/v1\nkind: Runner\nmetadata: {name: a}\nspec: {template: {spec: {volums: []}}}\n"
ROLLOUT = CUSTOM.replace("example.com/v1", "argoproj.io/v1").replace("Runner", "Rollout")
WORKLOADS = "workloads: [{apiGroup: example.com, kind: Runner, template: /spec/template}]\n"
KNOWN = {
    "custom kind": CUSTOM,
    "well-known custom kind": ROLLOUT,
    "labels and annotations": POD.format("{}").replace("{name: web}", "{name: a, labels: {x: y}, annotations: {x: y}}"),
    "node selector": POD.format("{nodeSelector: {x: y}, containers: [{name: a}]}"),
    "null": POD.format("{volumes: null, containers: [{name: a, env: null}]}"),
    "null item": POD.format("{containers: [{name: a, volumeMounts: [null]}]}"),
    "what rules don't read": POD.format("{affinity: {x: y}, containers: [{name: a, lifecycle: {x: y}}]}"),
    "a Secret": "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringdata: {a: b}\n",
    "kube-system": POD.format("{zzz: 1}").replace("name: web", "name: web, namespace: kube-system"),
}


@pytest.mark.parametrize("manifest", KNOWN.values(), ids=KNOWN)
def test_check_of_known_fields_has_no_warning(manifest: str) -> None:
    assert checked(manifest, under=policy(HEAD + WORKLOADS)).warnings == []


def test_every_known_field_of_a_pod_is_accepted() -> None:
    spec = {name: {"any": "value"} for name in OTHER_FIELDS[PodSpec][1].split()}
    raw = msgspec.json.encode({"apiVersion": "v1", "kind": "Pod", "spec": spec})
    assert unknown_fields(raw, Pod()) == []
