"""Placeholders that have no value yet: objects with them are unrendered templates."""

from pathlib import Path

import pytest

from tests.check.runs import LONG_POD, SEED_POD, checked, checked_paths, policy, text_lines
from tests.policies import HEAD

WITH_VARIABLE = LONG_POD.replace("86400", "${TTL}")
IN_BRACES = SEED_POD.replace("{name: seed}", "{name: seed, namespace: ${NS}}")
IN_NAMESPACE = SEED_POD.replace("{name: seed}", "\n  name: seed\n  namespace: ${NS}")
PLACE = "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds"
SUBSTITUTE = "envsubst < FILE | tokenguard check -"


def test_check_named_file_with_placeholder_fails() -> None:
    report = checked(WITH_VARIABLE)
    [problem] = report.problems
    assert problem.message == f"Pod/long: {PLACE} is the placeholder ${{TTL}}; substitute it first: {SUBSTITUTE}"
    assert (problem.line, problem.column) == (14, 11)
    assert (report.exit_status, report.findings, report.summary.objects) == (2, [], 0)


PLACEHOLDERS = {
    "with a default": (
        "automountServiceAccountToken: '${MOUNT:-true}'",
        "the placeholder ${MOUNT:...}; substitute it first: flux envsubst",
    ),
    "without braces": ("automountServiceAccountToken: $NET", "the placeholder ${NET}; substitute it first: envsubst"),
    "in a text": ("automountServiceAccountToken: 0${MODE}", "the placeholder ${MODE}; substitute it first: "),
    "of a template": (
        "automountServiceAccountToken: '{{ .net }}'",
        "an unrendered template; render it first: helm template",
    ),
}


@pytest.mark.parametrize(("field", "advice"), PLACEHOLDERS.values(), ids=PLACEHOLDERS)
def test_check_placeholder_is_named(field: str, advice: str) -> None:
    [problem] = checked(SEED_POD.replace("spec:\n", f"spec:\n  {field}\n")).problems
    assert problem.message.startswith(f"Pod/seed: spec.{field.partition(':')[0]} is {advice}")


@pytest.mark.parametrize("text", ["$1", "$(A)", "3"])
def test_check_other_text_is_no_placeholder(text: str) -> None:
    report = checked(SEED_POD.replace("spec:\n", f"spec:\n  automountServiceAccountToken: '{text}'\n"))
    assert (report.problems, [finding.rule for finding in report.findings]) == ([], ["unreadable-object"])


def test_check_placeholder_in_a_folder_is_an_unrendered_template(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(WITH_VARIABLE)
    (tmp_path / "braces.yaml").write_text(IN_BRACES)
    (tmp_path / "seed.yaml").write_text(SEED_POD)
    report = checked_paths(tmp_path)
    assert (report.exit_status, report.problems, report.summary.objects) == (0, [], 1)
    assert {skipped.reason for skipped in report.not_evaluated} == {"unrendered templates"}
    assert "  2 unrendered templates" in text_lines(report)
    [warning] = report.warnings
    assert (warning.path, warning.message) == (
        str(tmp_path / "braces.yaml"),
        (
            "is an unrendered template, which is not evaluated, like 1 other document in"
            f" {tmp_path}; render it first: {SUBSTITUTE}"
        ),
    )


def test_check_folder_with_placeholders_alone_fails(tmp_path: Path) -> None:
    (tmp_path / "braces.yaml").write_text(IN_BRACES)
    [problem] = checked_paths(tmp_path).problems
    assert problem.message.endswith(f"only unrendered templates; render them first: {SUBSTITUTE}")


def test_check_placeholder_in_braces_is_named() -> None:
    [problem] = checked(IN_BRACES).problems
    assert problem.message.startswith("is not YAML because of the placeholder ${NS}; substitute it first: ")
    assert problem.line == 3


def test_check_placeholder_at_the_error_is_named() -> None:
    text = SEED_POD.replace("{name: seed}", '{name: "${A}", namespace: ${NS}}')
    [problem] = checked(text).problems
    assert problem.message.startswith("is not YAML because of the placeholder ${NS}; substitute it first: ")


def test_check_other_error_beside_a_placeholder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(IN_NAMESPACE.replace("containers: [", "containers: ]"))
    (tmp_path / "b.yaml").write_text(SEED_POD.replace("{name: seed}", '{name: "${A}", labels: []]}'))
    problems = checked_paths(tmp_path).problems
    assert [problem.message[:13] for problem in problems] == ["is not YAML: "] * 2


def test_check_namespace_that_is_a_placeholder_is_one_warning() -> None:
    report = checked(IN_NAMESPACE, IN_NAMESPACE.replace("seed", "other"))
    [warning] = report.warnings
    assert warning.message.startswith("metadata.namespace is the placeholder ${NS}; substitute it first: ")
    assert (warning.line, report.exit_status, report.summary.objects) == (5, 0, 2)


def test_check_placeholder_that_no_rule_needs_is_accepted() -> None:
    text = SEED_POD.replace("app:1", "app:${TAG}").replace("1800", "1800  # ${TTL}")
    report = checked(text, under=policy(HEAD))
    assert (report.warnings, report.problems, report.exit_status) == ([], [], 0)


def test_check_placeholder_in_kube_system_is_not_reported() -> None:
    report = checked(WITH_VARIABLE.replace("name: long", "name: long\n  namespace: kube-system"))
    assert (report.problems, report.exit_status) == ([], 0)


AUDIENCES = {
    "pod": SEED_POD.replace("https://api.spicybiryaniwala.shop", "${AUD}"),
    "CSI driver": """\
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: a}
spec: {tokenRequests: [{audience: "${AUD}"}]}
""",
    "request": """\
apiVersion: authentication.k8s.io/v1
kind: TokenRequest
metadata: {name: a}
spec: {audiences: ["${AUD}"]}
""",
}


@pytest.mark.parametrize("manifest", AUDIENCES.values(), ids=AUDIENCES)
def test_check_audience_that_is_a_placeholder_has_advice(manifest: str) -> None:
    [finding] = checked(manifest, under=policy(f"{HEAD}tokens: {{audiences: {{allowed: [vault]}}}}")).findings
    assert finding.message.endswith('${AUD}", which is not allowed')
    assert finding.advice == f"this is the placeholder ${{AUD}}; substitute it first: {SUBSTITUTE}"


def test_check_folder_with_unreadable_objects_alone_fails(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(LONG_POD.replace("86400", "${TTL}"))
    [problem] = checked_paths(tmp_path).problems
    assert problem.message.startswith("contains no Kubernetes manifest, only unrendered templates; render them first: ")
