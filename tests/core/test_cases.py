"""The golden cases in `tests/cases`, with stricter expectations than `policy test` has.

`says` lists every message in full, and what a case does not mention does not happen: nothing is patched without
`patched`. Keys for these tests alone: `x-webhook` is the decision of the webhook where it differs from that of `check`,
`x-unmutated` what `/validate` says where the mutating webhook did not run, `x-audited` the findings that are only
recorded, `x-lines` and `x-last` the number of a denial's lines and the last one, `x-covers` rows of
docs/threat-model.md. `legacy token of NAMESPACE/ACCOUNT in SECRET` in a Secret is replaced by the text of such a token.
"""

import datetime as dt
import io
import json
from typing import Any

import jsonpatch
import pytest

from tests.golden_cases import CASES, LOADED, golden_case
from webhook.check.input_files import find
from webhook.check.policy_tests import run_policy_tests
from webhook.core.admission_request import Phase
from webhook.core.decision import Outcome
from webhook.core.kinds import Subject
from webhook.core.policy.loader import default_policy
from webhook.core.policy.model import Action
from webhook.core.rules import RULES

KEYS = {"x-webhook", "x-unmutated", "x-audited", "x-lines", "x-last", "x-covers"}


@pytest.mark.parametrize(("rule", "case"), LOADED, ids=[f"{rule}: {case['case']}" for rule, case in LOADED])
def test_case(rule: str, case: dict[str, Any]) -> None:  # noqa: ARG001 - for the id
    assert {key for key in case if key.startswith("x-")} <= KEYS, "a case has keys that mean nothing"
    golden = golden_case(case)
    before = golden.object
    given = json.dumps(before)
    assert list(golden.failures()) == []

    mutated = golden.evaluate(before, Phase.MUTATE)
    after = jsonpatch.apply_patch(before, list(mutated.patch))
    assert mutated.outcome == ("patched" if "patched" in case else "allowed")
    assert json.dumps(before) == given
    if "patched" not in case:
        assert after == before, "nothing is patched where the case says nothing of it"
    again = golden.evaluate(after, Phase.MUTATE)
    assert again.patch == (), "a second pass adds nothing"

    validated = golden.evaluate(after, Phase.VALIDATE)
    answers = {validated.outcome, mutated.outcome}
    strictest = next(outcome for outcome in ("denied", "patched", "warned", "allowed") if outcome in answers)
    assert strictest == case.get("x-webhook", golden.expected_decision)
    assert not validated.patch
    if "x-lines" in case:
        lines = validated.message("0").splitlines()[:-1]
        assert (len(lines), lines[-1]) == (case["x-lines"], case["x-last"])
    else:
        assert golden.messages() == case.get("says", [])
    if golden.read(before, Phase.CHECK).subject in (Subject.POD, Subject.POLICY):
        assert golden.evaluate(before, Phase.CHECK).patch == mutated.patch, "check foretells it"
    if "x-audited" in case:
        assert [str(finding) for finding in validated.findings if finding.action is Action.AUDIT] == case["x-audited"]
    if "exempted" in case:
        assert [str(exemption) for _, exemption in validated.exemptions] == case["exempted"]
    if "x-unmutated" in case:
        unmutated = golden.evaluate(before, Phase.VALIDATE)
        assert unmutated.outcome == Outcome.DENIED
        assert [*map(str, unmutated.rejections()), *unmutated.warnings()] == case["x-unmutated"]


def test_policy_test_passes_golden_cases() -> None:
    report = run_policy_tests(find([str(CASES)]), default_policy(), now=dt.datetime.now(dt.UTC), stdin=io.BytesIO())
    assert (report.problems, report.failed) == ([], [])
    assert len(report.results) == len(LOADED)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_has_allowed_violated_and_patched_cases(rule) -> None:
    cases = [case for name, case in LOADED if name == rule.name]
    about = f"{rule.name}: "
    assert any(not case.get("says") and "patched" not in case for case in cases), "no clean case"
    assert any(
        any(line.startswith(about) for line in case.get("says", []) + case.get("x-audited", [])) for case in cases
    ), "no broken case"
    if Action.PATCH in rule.actions:
        assert any("patched" in case for case in cases), "no patched case"


def test_file_of_cases_belongs_to_a_rule_or_the_policy() -> None:
    assert {name for name, _ in LOADED} == {rule.name for rule in RULES} | {"policy", "policy-configmap", "requests"}


def test_every_subject_has_a_case() -> None:
    subjects = {
        golden.read(golden.object, Phase.VALIDATE).subject for golden in (golden_case(case) for _, case in LOADED)
    }
    assert subjects >= set(Subject)
