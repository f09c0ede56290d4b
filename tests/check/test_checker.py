"""What a run finds, what counts, and the exit status that follows."""

import io
import json
from collections import Counter
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
    joined,
    json_document,
    policy,
    text_lines,
)
from tests.core.json_values import LEAVES
from webhook.check import fix
from webhook.check.checker import check
from webhook.check.input_files import InputProblem, find
from webhook.check.other_findings import UNREADABLE_OBJECT
from webhook.check.report import CheckReport, CheckSummary
from webhook.core.decision import Outcome
from webhook.formatters import check_concise, check_github, check_junit, check_sarif

POD_SPEC = LONG_POD[LONG_POD.index("spec:") :].replace("\n", "\n    ")
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


def test_check_allowed_audience_finds_nothing() -> None:
    report = checked(SEED_POD, under=policy(ALLOWED))
    assert (report.findings, report.exit_status) == ([], 0)
    assert report.summary.objects == 1


def test_check_other_audience_is_found() -> None:
    report = checked(SEED_POD.replace("api.spicy", "api.bland"), under=policy(ALLOWED))
    assert [finding.rule for finding in report.findings] == ["token-audience"]


FOUND = {
    "rejected": (
        (LEGACY_SECRET, LEGACY_POD),
        [("legacy-token-secret", "reject", 1, 3), ("legacy-token-reference", "reject", 2, 17)],
    ),
    "patched": ((LONG_POD,), [("token-expiration", "patch", 1, 14)]),
    "warned": ((SUBPATH_POD,), [("token-subpath", "warn", 1, 5)]),
    "a policy": (
        (SEED_POD, BAD_POLICY),
        [("invalid-policy", "reject", 2, 24), ("invalid-policy", "reject", 2, 25)],
    ),
    "unreadable": ((UNREADABLE_POD,), [(UNREADABLE_OBJECT, "reject", 1, 4)]),
}


@pytest.mark.parametrize(("texts", "expected"), FOUND.values(), ids=FOUND)
def test_finding_has_rule_action_document_and_line(
    texts: tuple[str, ...], expected: list[tuple[str, str, int, int]]
) -> None:
    report = checked(*texts)
    assert [
        (finding.rule, finding.action, finding.evaluation.manifest.document, finding.line)
        for finding in report.findings
    ] == expected
    assert report.exit_status == 1


def test_check_service_account_is_only_warned_about() -> None:
    strict = policy(f"{NO_RULES}rules: {{api-token-automount: reject, legacy-token-secret: off}}\n")
    report = checked(LEGACY_SECRET, SERVICE_ACCOUNT, under=strict)
    assert [(finding.rule, finding.action, finding.line, finding.path) for finding in report.findings] == [
        ("api-token-automount", "warn", 11, "automountServiceAccountToken"),
        ("legacy-token-reference", "warn", 14, "secrets[1]"),
    ]
    assert (report.summary.outcomes[Outcome.WARNED], report.exit_status) == (1, 1)
    assert fix.changed_documents(report) == 0


def test_check_legacy_secret_without_account_is_a_warning() -> None:
    report = checked(LEGACY_SECRET.replace("  annotations: {kubernetes.io/service-account.name: robot}\n", ""))
    [warning] = report.warnings
    annotation = "the annotation kubernetes.io/service-account.name, which names the ServiceAccount, is missing"
    assert (warning.line, warning.message) == (
        4, f"Secret/robot-token: {annotation}; the API server refuses such a Secret"
    )  # fmt: skip
    [finding] = report.findings
    assert finding.message == "requests a token that never expires"
    assert finding.advice.endswith("kubectl create token SERVICE_ACCOUNT_NAME -n default --duration=1h")
    assert checked(LEGACY_SECRET).warnings == []


def test_check_secret_in_a_later_file_is_known(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(LEGACY_POD)
    assert checked_paths(tmp_path).exit_status == 0
    (tmp_path / "b.yaml").write_text(LEGACY_SECRET)
    assert [
        finding.evaluation.file
        for finding in checked_paths(tmp_path).findings
        if finding.rule == "legacy-token-reference"
    ] == [str(tmp_path / "a.yaml")]


def test_check_secret_in_another_namespace_is_another() -> None:
    elsewhere = LEGACY_SECRET.replace("  name: robot-token", "  name: robot-token\n  namespace: other")
    assert [finding.rule for finding in checked(elsewhere, LEGACY_POD).findings] == ["legacy-token-secret"]


def test_check_objects_without_namespace_use_the_given_one() -> None:
    secret = LEGACY_SECRET.replace("  name: robot-token", "  name: robot-token\n  namespace: shop")
    findings = checked(secret, LEGACY_POD, namespace="shop").findings
    assert [(finding.rule, finding.evaluation.namespace) for finding in findings][1:] == [
        ("legacy-token-reference", "shop")
    ]


def test_check_template_is_evaluated_like_a_pod() -> None:
    spec = LONG_POD.partition("spec:\n")[2].replace("\n", "\n      ")
    deployment = (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  template:\n    spec:\n      {spec}"
    )
    (finding,) = checked(deployment).findings
    assert finding.path == "spec.template.spec.volumes[0].projected.sources[0]"
    assert (finding.evaluation.title, finding.line) == ("Deployment/web", 15)


def test_check_policy_is_validated_under_any_policy() -> None:
    assert checked(BAD_POLICY, under=policy("apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: audit\n")).exit_status
    assert not checked(BAD_POLICY.replace("modee", "mode").replace(": 5", ": 600")).exit_status
    assert not checked(BAD_POLICY.replace('"true"', '"false"')).exit_status
    assert checked(BAD_POLICY).summary.outcomes[Outcome.DENIED] == 1


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
def test_policy_error_has_its_line_in_a_block_else_the_keys(text: str, line: int) -> None:
    assert checked(text).findings[0].line == line


def test_check_injection_is_a_note() -> None:
    report = checked(SEED_POD, under=policy(INJECTION))
    assert report.evaluations[0].decision.patch
    assert (report.findings, report.exit_status) == ([], 0)
    assert [finding.rule for finding in report.notes] == ["inject"]


def test_check_action_audit_is_a_note() -> None:
    audit = policy("apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: audit\n")
    report = checked(LONG_POD, under=audit)
    assert (report.findings, report.exit_status) == ([], 0)
    assert [(finding.rule, finding.action) for finding in report.notes] == [("token-expiration", "audit")]


def test_check_exempt_object_is_a_note_with_the_reason() -> None:
    report = checked(LONG_POD, under=policy(EXEMPTING))
    assert report.exit_status == 0
    [note] = report.notes
    assert note.message == "has lifetime 86400s, exceeding the maximum 3600s; exempt: later, OPS-1 (until 2026-11-23)"
    assert (note.path, note.position) == ("spec.volumes[0].projected.sources[0]", (14, 11))


@pytest.mark.parametrize(("seconds", "count"), [(-5, 1), (599, 1), (600, 0)])
def test_check_lifetime_that_is_refused_is_a_warning(seconds: int, count: int) -> None:
    report = checked(LONG_POD.replace("86400", str(seconds)))
    message = f"expirationSeconds is {seconds}, which the API server refuses; set it to 600 or more"
    found = [(each.line, each.column) for each in report.warnings if each.message.endswith(message)]
    assert found == [(14, 11)] * count


def test_check_refused_lifetime_in_a_template_has_its_place() -> None:
    source = "{serviceAccountToken: {path: a, audience: b, expirationSeconds: 60}}"
    spec = f"{{containers: [{{name: a}}], volumes: [{{name: a, projected: {{sources: [{source}]}}}}]}}"
    head = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: long}\n"
    [warning] = checked(f"{head}spec: {{template: {{spec: {spec}}}}}\n").warnings
    place = "spec.template.spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds"
    assert (warning.line, warning.message.startswith(f"Deployment/long: {place} is 60,")) == (4, True)


def test_check_patch_in_a_template_is_named_from_the_root() -> None:
    pod = "{spec: {serviceAccountName: robot, volumes: [{name: t, secret: {secretName: robot-token}}]}}"
    manifest = f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\nspec: {{template: {pod}}}\n"
    report = checked(LEGACY_SECRET, manifest, under=policy(f"{NO_RULES}rules: {{legacy-token-reference: patch}}\n"))
    [finding] = [each for each in report.findings if each.rule == "legacy-token-reference"]
    assert finding.changes[0].startswith("spec.template.spec.volumes[0]")


def test_check_json_patch_of_a_kustomization_is_a_patch(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("patches: [{path: j.yaml}]\n")
    (tmp_path / "j.yaml").write_text("- {op: remove, path: /spec/a}\n")
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    notes = {skipped.problem.message.partition(";")[0] for skipped in checked_paths(tmp_path).not_evaluated}
    assert notes == {"is a file of kustomize", "is a patch"}


def test_check_exempt_finding_in_a_template_has_its_place() -> None:
    source = "{serviceAccountToken: {path: a, audience: b, expirationSeconds: 86400}}"
    spec = f"{{template: {{spec: {{volumes: [{{name: a, projected: {{sources: [{source}]}}}}]}}}}}}"
    manifest = f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: long}}\nspec: {spec}\n"
    [note] = checked(manifest, under=policy(EXEMPTING)).notes
    assert (note.path, note.line) == ("spec.template.spec.volumes[0].projected.sources[0]", 4)


def test_summary_counts_exempt_findings() -> None:
    report = checked(LONG_POD, under=policy(EXEMPTING))
    assert text_lines(report)[1] == "1 finding exempt; -v lists it"
    assert "1 finding exempt" in text_lines(report, verbose=True)
    assert json_document(report)["summary"]["exempt"] == 1
    twice = checked(LONG_POD, LONG_POD, under=policy(EXEMPTING))
    assert text_lines(twice)[1] == "2 findings exempt; -v lists them"
    warned = checked(LONG_POD, under=policy(EXEMPTING.replace("exemptions:", "mode: audit\nexemptions:")))
    assert warned.summary.exempt == 0


def test_summary_counts_objects_by_strongest_finding() -> None:
    both = LONG_POD.replace("name: long ", "name: both ").replace(
        'image: "app:1"', 'image: "app:1", volumeMounts: [{name: token, mountPath: /t, subPath: token}]'
    )
    summary = checked(LEGACY_SECRET, LEGACY_POD, LONG_POD, SUBPATH_POD, both, SEED_POD).summary
    assert (summary.objects, summary.files) == (6, 1)
    assert list(summary.outcomes.items()) == [("denied", 2), ("patched", 2), ("warned", 1), ("allowed", 1)]


ROLLOUT = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web}\nspec: {workloadRef: {name: web}}\n"
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"


def reasons(report: CheckReport) -> dict[str, int]:
    return {reason: len(skipped) for reason, skipped in report.by_reason().items()}


def test_summary_counts_not_evaluated_by_reason() -> None:
    own = LEGACY_POD.replace("{name: reader}", "{name: reader, namespace: tokenguard}")
    left = LEGACY_POD.replace("{name: reader}", "{name: reader, namespace: kube-system}")
    report = checked(own, left, left, CONFIG_MAP, CONFIG_MAP, ROLLOUT, LONG_POD)
    outcomes = {Outcome.DENIED: 0, Outcome.PATCHED: 1, Outcome.WARNED: 0, Outcome.ALLOWED: 0}
    assert report.summary == CheckSummary(files=1, outcomes=Counter(outcomes))
    assert reasons(report) == {
        "namespace kube-system": 2,
        "other kinds": 2,
        "namespace tokenguard": 1,
        "without a pod template": 1,
    }
    assert report.not_evaluated[-1].problem.message == "Rollout/web: it has no pod template at /spec/template"


def test_summary_file_without_evaluated_object_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CONFIG_MAP)
    (tmp_path / "b.yaml").write_text(SEED_POD)
    assert checked_paths(tmp_path).summary.files == 1


def test_check_workloads_of_the_policy_are_evaluated() -> None:
    spec = LONG_POD.partition("spec:\n")[2].replace("\n", "\n    ")
    runner = f"apiVersion: example.com/v1\nkind: Runner\nmetadata: {{name: r}}\nspec:\n  pod:\n    spec:\n    {spec}"
    with_runner = policy(f"{NO_RULES}workloads: [{{apiGroup: example.com, kind: Runner, template: /spec/pod}}]\n")
    assert [finding.path for finding in checked(runner).findings] == ["spec.pod.spec.volumes[0].projected.sources[0]"]
    report = checked(runner, under=with_runner)
    assert [finding.path for finding in report.findings] == ["spec.pod.spec.volumes[0].projected.sources[0]"]
    assert fix.changed_documents(report) == 1


def test_check_broken_document_is_a_problem_others_evaluated() -> None:
    report = checked("a: [\n", LONG_POD)
    assert [(problem.line, problem.document) for problem in report.problems] == [(1, 1)]
    assert [finding.rule for finding in report.findings] == ["token-expiration"]
    assert report.exit_status == 2


def test_check_values_file_is_skipped_in_a_folder_only(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("replicas: 3\n")
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    report = checked_paths(tmp_path)
    assert (report.exit_status, reasons(report)) == (0, {"not Kubernetes objects": 1})
    assert checked_paths(tmp_path / "values.yaml").exit_status == 2


EMPTY = {"nothing": "", "space": "\n \n", "comments and marks": "%YAML 1.1\n---\n# a\n--- # b\n...\n"}


@pytest.mark.parametrize("text", EMPTY.values(), ids=EMPTY)
def test_check_empty_named_file_is_a_problem(text: str, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text(text)
    for report in (checked(text), checked_paths(tmp_path / "empty.yaml")):
        assert [problem.message for problem in report.problems] == ["contains no manifest"]
        assert report.exit_status == 2


def test_check_empty_file_in_a_folder_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# later\n")
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    assert checked_paths(tmp_path).exit_status == 0


FOREIGN = {"values": "replicas: 3\n", "an empty file": "# later\n"}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_check_folder_without_objects_is_a_problem(text: str, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(text)
    report = checked_paths(tmp_path)
    assert (report.exit_status, [problem.message for problem in report.problems]) == (
        2,
        ["contains no Kubernetes manifest"],
    )
    assert len(report.not_evaluated) == 1


def test_check_folder_without_manifest_files_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    report = checked_paths(tmp_path / "pod.yaml", tmp_path / "deploy")
    assert [problem.message for problem in report.problems] == ["contains no *.yaml, *.yml or *.json file"]
    assert report.exit_status == 2


def test_check_empty_list_is_a_manifest() -> None:
    assert checked("apiVersion: v1\nkind: List\nitems: []\n").exit_status == 0


def test_check_object_without_kind_is_a_problem_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text("apiVersion: v1\nknid: Pod\nmetadata: {name: a}\n")
    assert checked_paths(tmp_path).exit_status == 2


TEMPLATE = "{{- if .Values.enabled }}\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n{{- end }}\n"
KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [pod.yaml]\n"


def test_check_unrendered_template_is_skipped_in_a_folder_only(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    report = checked_paths(tmp_path)
    assert (report.exit_status, reasons(report)) == (0, {"unrendered templates": 1})
    [problem] = checked_paths(tmp_path / "template.yaml").problems
    assert problem.message == "is an unrendered template; render it first: helm template CHART | tokenguard check -"


def test_check_unrendered_templates_are_a_warning_for_each_chart(tmp_path: Path) -> None:
    for name in ("Chart.yaml", "charts/sub/Chart.yaml"):
        (tmp_path / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shop" / name).write_text("name: a\n")
    for name in ("shop/templates/a.yaml", "shop/charts/sub/templates/a.yaml", "jinja/a.yaml", "jinja/b.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(TEMPLATE)
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    report = checked_paths(tmp_path)
    render = f"helm template {tmp_path / 'shop'} | tokenguard check -"
    assert [(warning.path, warning.message) for warning in report.warnings] == [
        (str(tmp_path / "jinja/a.yaml"), ("is an unrendered template, which is not evaluated, like 1 other document in"
         f" {tmp_path}; render it first: helm template CHART | tokenguard check -")),
        (str(tmp_path / "shop/Chart.yaml"),
         f"2 templates of this chart are not evaluated; render them first: {render}"),
    ]  # fmt: skip
    report.strict = True
    assert report.exit_status == 1
    [problem] = checked_paths(tmp_path / "shop/charts/sub").problems
    assert problem.message.endswith(f"only unrendered templates; render them first: {render}")


def test_check_many_charts_with_templates_are_one_warning(tmp_path: Path) -> None:
    for number in range(30):
        chart = tmp_path / f"chart{number:02}"
        chart.mkdir()
        (chart / "Chart.yaml").write_text("name: a\n")
        (chart / "a.yaml").write_text(TEMPLATE)
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    [warning] = checked_paths(tmp_path).warnings
    assert warning.path == str(tmp_path / "chart00/Chart.yaml")
    assert warning.message.startswith("30 templates of this and 29 other charts are not evaluated; render them first: ")
    assert warning.message.endswith(f"{tmp_path / 'chart19'} and 10 more, which -v lists")


def test_check_folder_of_templates_says_how_to_render(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(TEMPLATE)
    [problem] = checked_paths(tmp_path).problems
    assert problem.path == str(tmp_path)
    assert problem.message == (
        "contains no Kubernetes manifest, only unrendered templates; "
        "render them first: helm template CHART | tokenguard check -"
    )


def test_check_broken_manifest_fails_a_folder_other_files_do_not(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    (tmp_path / "tsconfig.json").write_text('{\n  // strict\n  "compilerOptions": {"strict": true,},\n}\n')
    assert checked_paths(tmp_path).exit_status == 0
    (tmp_path / "broken.yaml").write_text("apiVersion: v1\nkind: Pod\nspec: [\n")
    report = checked_paths(tmp_path)
    assert (report.exit_status, [problem.path for problem in report.problems]) == (2, [str(tmp_path / "broken.yaml")])


PLUGIN = "apiVersion: builtin\nkind: LabelTransformer\nmetadata: {name: labels}\n"
TOOLS = {"kustomize": KUSTOMIZATION, "kubectl": "apiVersion: v1\nkind: Config\n", "a plugin of kustomize": PLUGIN}


@pytest.mark.parametrize("text", TOOLS.values(), ids=TOOLS)
def test_check_tool_files_are_skipped_even_if_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    (tmp_path / "tool.yaml").write_text(text)
    report = checked_paths(tmp_path / "pod.yaml", tmp_path / "tool.yaml")
    assert (report.exit_status, reasons(report)) == (0, {"files of kustomize and kubectl": 1})
    assert checked_paths(tmp_path / "tool.yaml").exit_status == 2


@pytest.mark.parametrize("name", ["kustomization.yaml", "Kustomization"])
def test_check_named_kustomization_without_kind_is_skipped(name: str, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    (tmp_path / name).write_text("resources: [pod.yaml]\n")
    report = checked_paths(tmp_path / "pod.yaml", tmp_path / name)
    assert (report.exit_status, reasons(report)) == (0, {"files of kustomize and kubectl": 1})
    assert [skipped.problem.message for skipped in report.not_evaluated] == ["is a file of kustomize"]
    (tmp_path / name).write_text("resources: [\n")
    assert checked_paths(tmp_path / "pod.yaml", tmp_path / name).exit_status == 2


INVALID_BYTES = "has bytes that are not text; kubectl replaces them by U+FFFD; save the file as UTF-8"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        pytest.param(SEED_POD.encode().replace(b"{name: app,", b"{name: caf\xe9,"), 5, id="Latin-1"),
        pytest.param(b"\xff\xfe" + f"{SEED_POD}# ".encode("utf-16-le") + b"\x00\xd8", 14, id="UTF-16, half a pair"),
        pytest.param(SEED_POD.replace("{name: app,", "{name: café,").encode(), None, id="UTF-8"),
    ],
)
def test_check_warns_about_bytes_that_are_not_text(data: bytes, line: int | None, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_bytes(data)
    for path in (tmp_path, tmp_path / "pod.yaml"):
        report = checked_paths(path)
        expected = [(INVALID_BYTES, line)] if line else []
        assert [(warning.message, warning.line) for warning in report.warnings] == expected
        assert report.exit_status == 0


@pytest.mark.parametrize("key", ["transformers", "generators", "validators"])
def test_check_files_that_kustomize_runs_are_skipped(key: str, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(f"{KUSTOMIZATION}{key}: [plugin.yaml, function.yaml]\n")
    (tmp_path / "pod.yaml").write_text(SEED_POD)
    (tmp_path / "plugin.yaml").write_text(PLUGIN)
    spec = "{template: {spec: {containers: [{name: a, image: b}]}}}"
    (tmp_path / "function.yaml").write_text(f"apiVersion: example.com/v1\nkind: SetLabels\nspec: {spec}\n")
    report = checked_paths(tmp_path)
    assert (report.exit_status, len(report.warnings)) == (0, key != "validators")
    assert reasons(report) == {"files of kustomize and kubectl": 3}
    assert "SetLabels is a file of kustomize" in [skipped.problem.message for skipped in report.not_evaluated]


def test_check_reports_progress() -> None:
    steps: list[str] = []
    check(find(["-"]), policy(), now=NOW, namespace="default", stdin=io.BytesIO(b""), step=steps.append)
    assert steps == ["reading file 1 of 1", "evaluating file 1 of 1"]


FIELDS = st.sampled_from(
    ["name", "namespace", "labels", "annotations", "volumes", "containers", "projected", "sources", "secret", "env"]
)
ODD = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=3))


@given(st.sampled_from(["Pod", "Secret", "CronJob", "List", "Namespace", "ServiceAccount"]), ODD, ODD)
def test_check_any_object_gives_a_report(kind: str, metadata: object, spec: object) -> None:
    version = "batch/v1" if kind == "CronJob" else "v1"
    value = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec, "items": [spec]}
    report = checked(json.dumps(value, ensure_ascii=False), under=policy(INJECTION))
    assert report.exit_status in (0, 1, 2)
    assert "\n" not in "".join(text_lines(report, verbose=True))
    assert json_document(report)["summary"]["objects"] <= len(report.evaluations)
    assert not isinstance(fix.fixed_documents(report), InputProblem)


def test_check_errors_and_warnings_are_in_the_order_of_lines(tmp_path: Path) -> None:
    misspelt, duplicate = SEED_POD.replace("Pod", "Pdo"), f"{SEED_POD}kind: Pod\n"
    field = SEED_POD.replace("volumes:", "vloumes:")
    (tmp_path / "b.yaml").write_text(joined(misspelt, "a: [\n", field, duplicate, misspelt))
    (tmp_path / "a.yaml").write_text(joined(field, duplicate, misspelt))
    report = checked_paths(tmp_path / "b.yaml", tmp_path / "a.yaml")
    for documents in (report.problems, report.warnings):
        found = [(Path(each.path).name, each.line) for each in documents]
        assert found == sorted(found, key=lambda each: (each[0] == "a.yaml", each[1]))
        assert len({name for name, _ in found}) == 2


def test_check_invalid_policy_has_a_colon_behind_its_path() -> None:
    [finding] = checked(BAD_POLICY.replace("    modee: warn\n", "")).findings
    assert finding.statement == f"{finding.path}: {finding.message}"
    assert "denied[invalid-policy]: tokens.maxExpirationSeconds: " in "".join(text_lines(checked(BAD_POLICY)))
    for formatter in (check_concise, check_github, check_junit, check_sarif):
        assert "tokens.maxExpirationSeconds: " in "".join(formatter.format_report(checked(BAD_POLICY)))


def test_check_findings_of_an_object_are_in_the_order_of_lines() -> None:
    legacy = "    env: [{name: T, valueFrom: {secretKeyRef: {name: robot-token, key: token}}}]\n"
    volumes = LONG_POD[LONG_POD.index("  volumes:") :]
    head = LONG_POD[: LONG_POD.index("  containers:")]
    findings = checked(LEGACY_SECRET, f"{head}{volumes}  containers:\n  - name: app\n{legacy}").findings[1:]
    assert [finding.rule for finding in findings] == ["token-expiration", "legacy-token-reference"]
    assert findings[0].line < findings[1].line


def test_check_finding_names_the_exemption_that_ended() -> None:
    ended = EXEMPTING.replace("2026-11-23", "2026-11-22")
    deployment = f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec:\n  template:\n    {POD_SPEC}"
    for text in (LONG_POD, deployment):
        [finding] = checked(text, under=policy(ended)).findings
        assert finding.advice.endswith("its exemption ended: later, OPS-1 (until 2026-11-22)")
    assert checked(LONG_POD, under=policy(EXEMPTING)).findings == []
    other = ended.replace("rules: [token-expiration]", "rules: [token-expiration], namespaces: [other]")
    assert "ended" not in checked(LONG_POD, under=policy(other)).findings[0].advice


def test_check_with_findings_shows_the_help_of_the_policy() -> None:
    under = policy(f"{NO_RULES}messages: {{url: https://wiki.example.com/tokens}}\n")
    line = "for help, see https://wiki.example.com/tokens"
    assert line in text_lines(checked(LONG_POD, under=under))
    assert json_document(checked(LONG_POD, under=under))["policy"]["help"] == line
    assert line not in text_lines(checked(SEED_POD, under=under))


@pytest.mark.parametrize(
    ("action", "automount", "rules"),
    [
        pytest.param("patch", "", ["api-token-automount"], id="removed"),
        pytest.param("patch", "automountServiceAccountToken: true, ", ["token-expiration"], id="requested"),
        pytest.param("warn", "", ["api-token-automount", "token-expiration"], id="left"),
    ],
)
def test_termination_outlasts_no_token_that_is_removed(action: str, automount: str, rules: list[str]) -> None:
    spec = f"{{{automount}terminationGracePeriodSeconds: 3000, containers: [{{name: a, image: b}}]}}"
    pod = f"{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {spec}}}\n"
    report = checked(pod, under=policy(f"{NO_RULES}rules: {{api-token-automount: {action}}}\n"))
    assert sorted(finding.rule for finding in report.findings) == rules


def test_objects_without_a_separator_are_an_error() -> None:
    report = checked(LONG_POD + SEED_POD)
    [problem] = report.problems
    assert problem.message == "has a second kind, so it contains two objects; put '---' between them"
    line = len(LONG_POD.splitlines()) + 1 + SEED_POD.splitlines().index("kind: Pod")
    assert (problem.line, problem.column, report.exit_status) == (line, 1, 2)
