"""The golden cases in `tests/cases`: each an object under a policy, and what is to become of it.

A case says what `/mutate` does (`mutate`, and `patched`: the object afterwards), what `/validate` then says of the
result (`validate`), and in which words (`says`: warnings and denial lines). `unmutated` is what `/validate` says
where the mutating webhook didn't run. `api-audiences` are those of the webhook's own token, `own-namespace` is the
one it is installed in. `legacy token of NAMESPACE/ACCOUNT in SECRET` in a Secret stands for the text of such a token.
`covers`: rows of docs/threat-model.md."""

import json
from typing import Any

import jsonpatch
import pytest

from tests.golden_cases import LOADED, GoldenCase, the_object
from tests.reviews import review
from webhook.core.admission_request import Phase, read_review
from webhook.core.decision import Decision, Outcome
from webhook.core.kinds import Subject
from webhook.core.policy.model import Action
from webhook.core.rules import RULES

KEYS = {
    "case", "policy", "cluster", "api-audiences", "own-namespace", "object", "old", "api-token", "request",
    "mutate", "patched", "validate", "says", "told", "last", "unmutated", "audited", "exempted", "check", "covers",
}  # fmt: skip


def told(decision: Decision) -> list[str]:
    return [*map(str, decision.rejections()), *map(str, decision.policy_errors), *decision.warnings()]


@pytest.mark.parametrize(("rule", "case"), LOADED, ids=[f"{rule}: {case['case']}" for rule, case in LOADED])
def test_case(rule: str, case: dict[str, Any]) -> None:  # noqa: ARG001 - for the id
    assert set(case) <= KEYS, "a case has keys that mean nothing"
    golden = GoldenCase(case)
    before = the_object(case)
    given = json.dumps(before)

    mutated = golden.evaluate(before, Phase.MUTATE)
    after = jsonpatch.apply_patch(before, list(mutated.patch))
    assert mutated.outcome == case.get("mutate", "patched" if "patched" in case else "allowed")
    assert json.dumps(before) == given
    if "patched" in case:
        expected = {**{key: before[key] for key in ("apiVersion", "kind", "metadata")}, **case["patched"]}
        assert after == expected, "the patch makes what the case says"
    else:
        assert after == before, "nothing is patched where the case says nothing of it"
    again = golden.evaluate(after, Phase.MUTATE)
    assert again.patch == (), "a second pass adds nothing"

    validated = golden.evaluate(after, Phase.VALIDATE)
    assert validated.outcome == case.get("validate", "allowed")
    assert not validated.patch
    said = told(mutated) + told(validated)
    if "told" in case:
        lines = validated.message("0").splitlines()[:-1]
        assert (len(lines), lines[-1]) == (case["told"], case["last"])
    else:
        assert said == case.get("says", [])
    checked = golden.evaluate(before, Phase.CHECK)
    if read_review(review(before, **golden.request), Phase.CHECK).subject in (Subject.POD, Subject.POLICY):
        denied = case.get("check", validated.outcome) == "denied"
        assert (checked.outcome == "denied", checked.patch) == (denied, mutated.patch), "check foretells it"
    if "audited" in case:
        assert [str(one) for one in validated.findings if one.action is Action.AUDIT] == case["audited"]
    if "exempted" in case:
        assert [str(exemption) for _, exemption in validated.exemptions] == case["exempted"]
    if "unmutated" in case:
        unmutated = golden.evaluate(before, Phase.VALIDATE)
        assert unmutated.outcome == Outcome.DENIED
        assert told(unmutated) == case["unmutated"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_has_allowed_violated_and_patched_cases(rule) -> None:
    cases = [case for name, case in LOADED if name == rule.name]
    about = f"{rule.name}: "
    assert any(not case.get("says") and "patched" not in case for case in cases), "no clean case"
    assert any(
        any(line.startswith(about) for line in case.get("says", []) + case.get("audited", [])) for case in cases
    ), "no broken case"
    if Action.PATCH in rule.actions:
        assert any("patched" in case for case in cases), "no patched case"


def test_file_of_cases_belongs_to_a_rule_or_the_policy() -> None:
    assert {name for name, _ in LOADED} == {rule.name for rule in RULES} | {"policy", "policy-configmap", "requests"}


def test_every_subject_has_a_case() -> None:
    subjects = {
        read_review(review(the_object(case), **GoldenCase(case).request), Phase.VALIDATE).subject for _, case in LOADED
    }
    assert subjects >= set(Subject)
