"""JUnit XML: a suite for each file, a test case for each object."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.check.runs import LEGACY_POD, LEGACY_SECRET, LONG_POD, SEED_POD, checked, checked_paths, policy
from tests.policies import HEAD
from webhook.core.policy.model import Action
from webhook.formatters import check_junit


def suites_of(*texts: str, fail_on: Action = Action.WARN, rules: str = "{}") -> ET.Element:
    report = checked(*texts, under=policy(f"{HEAD}rules: {rules}\n"))
    report.fail_on = fail_on
    return ET.fromstring("".join(check_junit.format_report(report)).encode())


def test_junit_has_a_case_for_each_object() -> None:
    root = suites_of(LEGACY_SECRET, LEGACY_POD, LONG_POD, SEED_POD, "a: [\n", SEED_POD.replace("v1", "example.com/v1"))
    [suite] = root
    counts = {"tests": "6", "failures": "3", "errors": "1", "skipped": "1"}
    assert {name: suite.attrib[name] for name in counts} == counts
    assert {name: root.attrib[name] for name in counts} == counts
    assert [(case.get("name"), [result.tag for result in case]) for case in suite] == [
        ("<stdin>: document 5, line 49", ["error"]),
        ("Secret/robot-token in namespace default", ["failure"]),
        ("Pod/reader in namespace default", ["failure"]),
        ("Pod/long in namespace default", ["failure"]),
        ("Pod/seed in namespace default", []),
        ("Pod/seed", ["skipped"]),
    ]
    failure = suite[2][0]
    assert failure.get("type") == "legacy-token-reference"
    assert failure.get("message", "").startswith("spec.containers[0].env[0] reads the long-lived token")
    assert (failure.text or "").startswith("<stdin>:17:34: denied: Pod/reader: ")


def test_junit_case_of_a_misspelt_kind_has_place_and_body() -> None:
    [suite] = suites_of(SEED_POD.replace("Pod", "Pdo"))
    [case] = suite
    assert case.get("name") == "<stdin>: document 1, line 2 (Pdo/seed in namespace default)"
    assert (case[0].text or "").startswith("error: <stdin>:2:1: the core API (v1) has no kind ")


def test_junit_case_of_a_missing_file_has_its_name(tmp_path: Path) -> None:
    report = checked_paths(tmp_path / "absent.yaml")
    [[case]] = ET.fromstring("".join(check_junit.format_report(report)).encode())
    assert case.get("name") == f"{tmp_path}/absent.yaml"


@pytest.mark.parametrize("strict", [False, True])
def test_junit_has_a_failure_for_each_strict_warning(*, strict: bool) -> None:
    report = checked(SEED_POD + "contianers: []\nmetadata: {name: seed}\n")
    report.strict = strict
    [suite] = ET.fromstring("".join(check_junit.format_report(report)).encode())
    failed = {case.get("name"): result.get("type") for case in suite for result in case}
    line = SEED_POD.count("\n") + 1
    warned = {f"<stdin>: document 1, line {number}": "warning" for number in (line, line + 1)}
    assert failed == (warned if strict else {})
    assert suite.get("failures") == str(2 * report.exit_status) == str(2 * strict)


def test_junit_finding_below_fail_on_is_output() -> None:
    [suite] = suites_of(LONG_POD, fail_on=Action.REJECT)
    assert suite.get("failures") == "0"
    assert [result.tag for result in suite[0]] == ["system-out"]


def test_junit_case_names_secrets_that_no_file_has() -> None:
    [[reader, _]] = suites_of(LEGACY_POD, SEED_POD)
    [output] = reader
    assert (output.tag, output.text) == (
        "system-out",
        "Secret default/robot-token is not among the manifests: whether it is a long-lived token is unknown",
    )


NAMES = {"markup": """'a"<&>]]>'""", "control character": r'"a\x01b"', "half a character": r'"a\ud83d"'}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_junit_escapes_names(name: str) -> None:
    suites = suites_of(LONG_POD.replace("name: long", f"name: {name}"))
    assert len(suites) == 1


def test_junit_failure_names_the_strongest_finding() -> None:
    [suite] = suites_of(
        f"{LONG_POD}  - {{name: kubelet, hostPath: {{path: /var/lib/kubelet}}}}\n", rules="{kubelet-hostpath: reject}"
    )
    text = suite[0][0].text or ""
    assert text.index("kubelet-hostpath") < text.index("token-expiration")
    assert suite[0][0].get("type") == "kubelet-hostpath"
    assert suite[0][0].get("message", "").endswith(" (and 1 more finding)")
