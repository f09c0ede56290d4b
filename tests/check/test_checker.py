"""What a run finds, what counts, and the exit status that follows."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.check.runs import (
    BAD_POLICY,
    INJECTION,
    LEGACY_POD,
    LEGACY_SECRET,
    LONG_POD,
    NOW,
    SEED_POD,
    SERVICE_ACCOUNT,
    SUBPATH_POD,
    UNREADABLE_POD,
    checked,
    checked_paths,
    policy,
)
from tests.core.test_manifests import LEAVES
from webhook.check import fix
from webhook.check.checker import UNREADABLE_OBJECT, check
from webhook.check.input_files import InputProblem, find
from webhook.check.summary import CheckSummary
from webhook.formatters import check_json, check_text

NO_RULES = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
ALLOWED = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
tokens: {audiences: {allowed: ["https://*.spicybiryaniwala.shop"]}}
"""
EXEMPTING = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
exemptions:
- {rules: [token-expiration], reason: "later, OPS-1", until: 2026-11-23}
"""


def test_the_seed_example_is_clean_where_its_audience_is_allowed() -> None:
    report = checked(SEED_POD, under=policy(ALLOWED))
    assert (report.findings, report.exit_status) == ((), 0)
    assert report.summary.objects == 1


def test_an_audience_that_is_not_allowed_is_found() -> None:
    report = checked(SEED_POD.replace("api.spicy", "api.bland"), under=policy(ALLOWED))
    assert [one.rule for one in report.findings] == ["token-audience"]


FOUND = {
    "rejected": (
        (LEGACY_SECRET, LEGACY_POD),
        [("legacy-token-secret", "reject", 1, 3), ("legacy-token-reference", "reject", 2, 16)],
    ),
    "patched": ((LONG_POD,), [("token-expiration", "patch", 1, 12)]),
    "warned": ((SUBPATH_POD,), [("token-subpath", "warn", 1, 5)]),
    "a policy": (
        (SEED_POD, BAD_POLICY),
        [("invalid-policy", "reject", 2, 24), ("invalid-policy", "reject", 2, 25)],
    ),
    "unreadable": ((UNREADABLE_POD,), [(UNREADABLE_OBJECT, "reject", 1, 1)]),
}


@pytest.mark.parametrize(("texts", "expected"), FOUND.values(), ids=FOUND)
def test_findings_name_rule_action_document_and_line(
    texts: tuple[str, ...], expected: list[tuple[str, str, int, int]]
) -> None:
    report = checked(*texts)
    assert [(one.rule, one.action, one.document, one.line) for one in report.findings] == expected
    assert report.exit_status == 1


def test_a_service_account_is_only_warned_about_whatever_is_done_to_its_pods() -> None:
    strict = policy(f"{NO_RULES}rules: {{api-token-automount: reject, legacy-token-secret: off}}\n")
    report = checked(LEGACY_SECRET, SERVICE_ACCOUNT, under=strict)
    assert [(one.rule, one.action, one.line, one.place) for one in report.findings] == [
        ("legacy-token-reference", "warn", 14, "secrets[1]"),
        ("api-token-automount", "warn", 11, "automountServiceAccountToken"),
    ]
    assert (report.summary.warned, report.exit_status) == (1, 1)
    assert fix.changed(report) == 0


def test_a_secret_of_a_later_file_is_known_to_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(LEGACY_POD)
    assert checked_paths(tmp_path).exit_status == 0
    (tmp_path / "b.yaml").write_text(LEGACY_SECRET)
    assert [one.file for one in checked_paths(tmp_path).findings if one.rule == "legacy-token-reference"] == [
        str(tmp_path / "a.yaml")
    ]


def test_a_secret_of_another_namespace_is_another_secret() -> None:
    elsewhere = LEGACY_SECRET.replace("  name: robot-token", "  name: robot-token\n  namespace: other")
    assert [one.rule for one in checked(elsewhere, LEGACY_POD).findings] == ["legacy-token-secret"]


def test_objects_that_name_no_namespace_are_in_the_one_asked_for() -> None:
    secret = LEGACY_SECRET.replace("  name: robot-token", "  name: robot-token\n  namespace: shop")
    found = checked(secret, LEGACY_POD, namespace="shop").findings
    assert [(one.rule, one.namespace) for one in found][1:] == [("legacy-token-reference", "shop")]


def test_a_workloads_template_is_judged_as_the_pods_it_makes() -> None:
    spec = LONG_POD.partition("spec:\n")[2].replace("\n", "\n      ")
    deployment = (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  template:\n    spec:\n      {spec}"
    )
    (told,) = checked(deployment).findings
    assert told.place == "spec.template.spec.volumes[0].projected.sources[0]"
    assert (told.kind, told.name, told.line) == ("Deployment", "web", 13)


def test_a_policy_is_judged_by_itself_whatever_is_checked_by() -> None:
    assert checked(BAD_POLICY, under=policy("apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: audit\n")).exit_status
    assert not checked(BAD_POLICY.replace("modee", "mode").replace(": 5", ": 600")).exit_status
    assert not checked(BAD_POLICY.replace('"true"', '"false"')).exit_status
    assert checked(BAD_POLICY).summary.denied == 1


ELSEWHERE = {
    "an indented block": (BAD_POLICY.replace("|\n", "|2-\n").replace("\n    ", "\n      "), 10),
    "a folded text": (BAD_POLICY.replace("policy.yaml: |", "policy.yaml: >"), 6),
    "a text in quotes": (BAD_POLICY.partition("|")[0] + '"kind: TokenPolicy"\n', 6),
    "no such key": (BAD_POLICY.partition("  policy.yaml")[0], 4),
    "JSON": (
        """{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"labels": {"tokenguard/policy": "true"}},
        "data": {
        "policy.yaml": "\\n\\nkind: TokenPolicy"}}""",
        3,
    ),
}


@pytest.mark.parametrize(("text", "line"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_policys_mistake_has_its_own_line_in_a_block_and_else_that_of_the_key(text: str, line: int) -> None:
    assert checked(text).findings[0].line == line


def test_an_injection_is_no_finding() -> None:
    report = checked(SEED_POD, under=policy(INJECTION))
    assert report.judgements[0].decision.patch
    assert (report.findings, report.exit_status) == ((), 0)
    assert [one.rule for one in report.notes] == ["inject"]


def test_what_the_audit_log_alone_hears_of_is_a_note() -> None:
    audit = policy("apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: audit\n")
    report = checked(LONG_POD, under=audit)
    assert (report.findings, report.exit_status) == ((), 0)
    assert [(one.rule, one.action) for one in report.notes] == [("token-expiration", "audit")]


def test_what_is_exempt_is_a_note_that_says_why() -> None:
    report = checked(LONG_POD, under=policy(EXEMPTING))
    assert report.exit_status == 0
    assert [one.detail for one in report.notes] == ["exempt: later, OPS-1 (until 2026-11-23)"]


def test_objects_are_counted_by_their_worst_finding() -> None:
    both = LONG_POD.replace("name: long ", "name: both ").replace(
        'image: "app:1"', 'image: "app:1", volumeMounts: [{name: token, mountPath: /t, subPath: token}]'
    )
    summary = checked(LEGACY_SECRET, LEGACY_POD, LONG_POD, SUBPATH_POD, both, SEED_POD).summary
    assert (summary.objects, summary.files) == (6, 1)
    assert (summary.denied, summary.patched, summary.warned) == (2, 2, 1)


ROLLOUT = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web}\nspec: {workloadRef: {name: web}}\n"
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"


def test_objects_that_no_rule_was_applied_to_are_not_counted_as_evaluated() -> None:
    own = LEGACY_POD.replace("{name: reader}", "{name: reader, namespace: tokenguard}")
    left = LEGACY_POD.replace("{name: reader}", "{name: reader, namespace: kube-system}")
    report = checked(own, left, left, CONFIG_MAP, CONFIG_MAP, ROLLOUT, LONG_POD)
    assert report.summary == CheckSummary(
        objects=1,
        files=1,
        patched=1,
        left_alone={"kube-system": 2, "tokenguard": 1},
        not_evaluated={"ConfigMap": 2, "Rollout without a pod template": 1},
    )
    assert [one.message for one in report.not_evaluated][-1] == (
        "Rollout/web: not evaluated: it has no pod template at /spec/template"
    )


def test_file_without_evaluated_object_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CONFIG_MAP)
    (tmp_path / "b.yaml").write_text(SEED_POD)
    assert checked_paths(tmp_path).summary.files == 1


def test_workloads_of_the_policy_are_evaluated() -> None:
    spec = LONG_POD.partition("spec:\n")[2].replace("\n", "\n    ")
    runner = f"apiVersion: example.com/v1\nkind: Runner\nmetadata: {{name: r}}\nspec:\n  pod:\n    spec:\n    {spec}"
    known = policy(f"{NO_RULES}workloads: [{{apiGroup: example.com, kind: Runner, template: /spec/pod}}]\n")
    assert checked(runner).summary.not_evaluated == {"Runner": 1}
    report = checked(runner, under=known)
    assert [one.place for one in report.findings] == ["spec.pod.spec.volumes[0].projected.sources[0]"]
    assert fix.changed(report) == 1


def test_a_broken_document_is_trouble_and_the_rest_is_still_judged() -> None:
    report = checked("a: [\n", LONG_POD)
    assert [(one.line, one.document) for one in report.problems] == [(2, 1)]
    assert [one.rule for one in report.findings] == ["token-expiration"]
    assert report.exit_status == 2


def test_values_in_a_folder_are_skipped_but_not_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("replicas: 3\n")
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    report = checked_paths(tmp_path)
    assert (report.exit_status, len(report.skipped)) == (0, 1)
    assert checked_paths(tmp_path / "values.yaml").exit_status == 2


EMPTY = {"nothing": "", "space": "\n \n", "comments and marks": "%YAML 1.1\n---\n# a\n--- # b\n...\n"}


@pytest.mark.parametrize("text", EMPTY.values(), ids=EMPTY)
def test_a_file_that_is_named_and_stdin_must_hold_something(text: str, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text(text)
    for report in (checked(text), checked_paths(tmp_path / "empty.yaml")):
        assert [one.message for one in report.problems] == ["holds no manifest"]
        assert report.exit_status == 2


def test_an_empty_file_in_a_folder_of_manifests_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# later\n")
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    assert checked_paths(tmp_path).exit_status == 0


FOREIGN = {"values": "replicas: 3\n", "an empty file": "# later\n"}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_a_folder_without_any_object_is_not_clean(text: str, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(text)
    report = checked_paths(tmp_path)
    assert (report.exit_status, [one.message for one in report.problems]) == (2, ["holds no Kubernetes manifest"])
    assert len(report.skipped) == 1


def test_a_folder_without_any_manifest_beside_others_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    report = checked_paths(tmp_path / "pod.yaml", tmp_path / "deploy")
    assert [one.message for one in report.problems] == ["holds no *.yaml, no *.yml, no *.json"]
    assert report.exit_status == 2


def test_an_empty_list_is_a_manifest() -> None:
    assert checked("apiVersion: v1\nkind: List\nitems: []\n").exit_status == 0


def test_an_object_without_a_kind_is_trouble_in_a_folder_too(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text("apiVersion: v1\nknid: Pod\nmetadata: {name: a}\n")
    assert checked_paths(tmp_path).exit_status == 2


TEMPLATE = "{{- if .Values.enabled }}\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n{{- end }}\n"
KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [pod.yaml]\n"


def test_unrendered_template_in_a_folder_is_skipped_and_fails_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    report = checked_paths(tmp_path)
    assert (report.exit_status, [one.template for one in report.skipped]) == (0, [True])
    [problem] = checked_paths(tmp_path / "template.yaml").problems
    assert problem.message == "is an unrendered template; render it first: helm template CHART | tokenguard check -"


def test_folder_of_templates_alone_fails_and_says_how_to_render_them(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(TEMPLATE)
    [problem] = checked_paths(tmp_path).problems
    assert problem.path == str(tmp_path)
    assert problem.message == (
        "holds no Kubernetes manifest, but unrendered templates; "
        "render them first: helm template CHART | tokenguard check -"
    )


def test_manifest_that_can_not_be_read_fails_a_folder_and_other_broken_files_do_not(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    (tmp_path / "tsconfig.json").write_text('{\n  // strict\n  "compilerOptions": {"strict": true,},\n}\n')
    assert checked_paths(tmp_path).exit_status == 0
    (tmp_path / "broken.yaml").write_text("apiVersion: v1\nkind: Pod\nspec: [\n")
    report = checked_paths(tmp_path)
    assert (report.exit_status, [one.path for one in report.problems]) == (2, [str(tmp_path / "broken.yaml")])


@pytest.mark.parametrize("text", [KUSTOMIZATION, "apiVersion: v1\nkind: Config\n"], ids=["kustomize", "kubectl"])
def test_files_of_tools_are_skipped_even_where_they_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    (tmp_path / "tool.yaml").write_text(text)
    report = checked_paths(tmp_path / "pod.yaml", tmp_path / "tool.yaml")
    assert (report.exit_status, len(report.skipped), report.summary.not_evaluated) == (0, 1, {})
    assert checked_paths(tmp_path / "tool.yaml").exit_status == 2


def test_every_step_is_told() -> None:
    steps: list[str] = []
    check(find(["-"]), policy(), now=NOW, namespace="default", stdin=io.BytesIO(b""), step=steps.append)
    assert steps == ["reading file 1 of 1", "judging file 1 of 1"]


FIELDS = st.sampled_from(
    ["name", "namespace", "labels", "annotations", "volumes", "containers", "projected", "sources", "secret", "env"]
)
ODD = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=3))


@given(st.sampled_from(["Pod", "Secret", "CronJob", "List", "Namespace", "ServiceAccount"]), ODD, ODD)
def test_no_object_makes_a_run_fail(kind: str, metadata: object, spec: object) -> None:
    version = "batch/v1" if kind == "CronJob" else "v1"
    value = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec, "items": [spec]}
    report = checked(json.dumps(value, ensure_ascii=False), under=policy(INJECTION))
    assert report.exit_status in (0, 1, 2)
    assert "\n" not in "".join(check_text.lines(report, verbose=True))
    assert json.loads(check_json.text(report))["summary"]["objects"] <= len(report.judgements)
    assert not isinstance(fix.documents(report), InputProblem)
