"""SARIF: it is valid, and says what code hosts need."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.check.runs import (
    BAD_POLICY,
    INJECTION,
    LEGACY_POD,
    LEGACY_SECRET,
    LONG_POD,
    SEED_POD,
    UNREADABLE_POD,
    checked,
    checked_paths,
    policy,
)
from webhook.check.report import CheckReport
from webhook.core.rules import RULES
from webhook.formatters import check_sarif
from webhook.formatters.formatter import FormatOptions

SCHEMA = json.loads((Path(__file__).parent / "schema" / "sarif-2.1.0.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


def run_of(report: CheckReport, *, verbose: bool = False) -> dict[str, Any]:
    document = json.loads("".join(check_sarif.format_report(report, FormatOptions(verbose=verbose))))
    VALIDATOR.validate(document)
    run: dict[str, Any] = document["runs"][0]
    return run


def test_schema_rejects_invalid_sarif() -> None:
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({"version": "2.1.0", "runs": [{}]})


@pytest.mark.parametrize("verbose", [False, True], ids=["findings", "notes too"])
@pytest.mark.parametrize(
    "texts",
    [(SEED_POD,), (LEGACY_SECRET, LEGACY_POD, LONG_POD, UNREADABLE_POD, BAD_POLICY), ("a: [\n", "3\n", LONG_POD)],
    ids=["clean", "findings", "trouble"],
)
def test_sarif_is_valid(texts: tuple[str, ...], *, verbose: bool) -> None:
    run = run_of(checked(*texts, under=policy(INJECTION)), verbose=verbose)
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_sarif_describes_every_rule() -> None:
    rules = run_of(checked(SEED_POD))["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [*(rule.name for rule in RULES), "unreadable-object", "invalid-policy"]
    for rule in rules:
        assert rule["shortDescription"]["text"][0].isupper()
        assert len(rule["shortDescription"]["text"]) <= 70
        assert rule["helpUri"].startswith("https://kubernetes.io/docs/")
        assert rule["helpUri"] in rule["help"]["markdown"]
        assert 0 < float(rule["properties"]["security-severity"]) < 10
    assert RULES[0].explanation in rules[0]["help"]["text"]
    assert len({rule["shortDescription"]["text"] for rule in rules}) == len(rules)


def test_sarif_result_has_level_path_and_message() -> None:
    (result,) = run_of(checked(LONG_POD))["results"]
    path = "spec.volumes[0].projected.sources[0]"
    assert (result["ruleId"], result["level"]) == ("token-expiration", "warning")
    assert result["message"]["text"].startswith(f"Pod/long: {path} has lifetime 86400s")
    (location,) = result["locations"]
    assert location["physicalLocation"]["region"] == {
        "startLine": 14,
        "startColumn": 11,
        "endColumn": 35,
    }
    assert location["logicalLocations"][0]["fullyQualifiedName"] == f"Pod/long {path}"


def test_sarif_denied_is_an_error() -> None:
    assert {result["level"] for result in run_of(checked(LEGACY_SECRET, LEGACY_POD))["results"]} == {"error"}


def test_sarif_paths_are_relative_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my pod.yaml").write_text(LONG_POD)
    (result,) = run_of(checked_paths("."))["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "my%20pod.yaml"


def test_sarif_problem_is_a_notification_of_a_failed_run() -> None:
    (invocation,) = run_of(checked("a: [\n"))["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 2)
    (notification,) = invocation["toolExecutionNotifications"]
    assert notification["locations"][0]["physicalLocation"]["region"] == {"startLine": 1, "startColumn": 4}


def test_sarif_notes_say_what_could_not_be_known(tmp_path: Path) -> None:
    (tmp_path / "reader.yaml").write_text(LEGACY_POD)
    (tmp_path / "template.yaml").write_text("{{ if .Values.a }}\na: [\n")
    report = checked_paths(tmp_path, under=policy("apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: audit\n"))
    (invocation,) = run_of(report)["invocations"]
    notes = invocation["toolExecutionNotifications"]
    assert [note["level"] for note in notes] == ["warning", "note", "note"]
    template, mode, secret = (note["message"]["text"] for note in notes)
    assert mode.startswith("if every namespace were in mode enforce: 1 allowed")
    assert template.startswith("is an unrendered template")
    assert secret.startswith("Secret default/robot-token is not among the manifests")
    assert notes[2]["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}


def fingerprints(*texts: str) -> list[str]:
    return [result["partialFingerprints"]["tokenguard/v1"] for result in run_of(checked(*texts))["results"]]


def test_sarif_fingerprint_ignores_lines_above() -> None:
    assert fingerprints(LONG_POD) == fingerprints("# a\n# b\n" + LONG_POD)
    assert fingerprints(LONG_POD) == fingerprints(LONG_POD.replace("86400", "90000"))


def test_sarif_fingerprints_are_unique() -> None:
    other = LONG_POD.replace("name: long", "name: other")
    assert len(set(fingerprints(LONG_POD, LONG_POD, other))) == 3


def test_sarif_names_the_policy_and_standard_input() -> None:
    run = run_of(checked(LONG_POD))
    assert run["properties"]["policy"].startswith("built-in defaults (")
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "stdin"
