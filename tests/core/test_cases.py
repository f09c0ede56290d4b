"""The golden cases in `tests/cases`: each an object under a policy, and what is to become of it.

A case says what `/mutate` does (`mutate`, and `patched`: the object afterwards), what `/validate` then says of
the result (`validate`), and in which words (`says`: warnings and denial lines). `unmutated` is what `/validate`
says where the mutating webhook didn't run. `api-audiences` are those of the webhook's own token. `legacy token of
NAMESPACE/ACCOUNT in SECRET` in a Secret stands for the text of such a token. `covers`: rows of docs/threat-model.md.
"""

import copy
import datetime as dt
import json
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml

from tests.legacy_tokens import with_tokens
from tests.reviews import review, with_api_token
from webhook.core.admission_request import Phase, read_review
from webhook.core.cluster_state import Cluster
from webhook.core.decision import Decision, Outcome
from webhook.core.evaluate import evaluate
from webhook.core.kinds import Subject
from webhook.core.manifests import cluster_of, read_manifests
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Action, Policy
from webhook.core.rules import RULES

CASES = Path(__file__).parent.parent / "cases"
NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
KEYS = {
    "case", "policy", "cluster", "api-audiences", "object", "old", "api-token", "request",
    "mutate", "patched", "validate", "says", "told", "last", "unmutated", "audited", "exempted", "check", "covers",
}  # fmt: skip


def legacy_token(account: str) -> dict[str, Any]:
    """Return the legacy token Secret ACCOUNT-token."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {
            "name": f"{account}-token",
            "namespace": "demo",
            "annotations": {"kubernetes.io/service-account.name": account},
        },
    }


CLUSTERS = {
    "app-token": [legacy_token("app")],
    "app-token and robot-token": [legacy_token("app"), legacy_token("robot")],
}


def load() -> list[tuple[str, dict[str, Any]]]:
    return [
        (path.stem, with_tokens(case))
        for path in sorted(CASES.glob("*.yaml"))
        for case in yaml.safe_load_all(path.read_text())
        if case
    ]


LOADED = load()


class Judge:
    """One case's policy and cluster, put together as a user would give them."""

    def __init__(self, case: dict[str, Any]) -> None:
        document = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", **case.get("policy", {})}
        policy = read_policy(yaml.safe_dump(document, sort_keys=False).encode())
        assert isinstance(policy, Policy), policy
        self.policy = policy
        cluster = case.get("cluster", [])
        objects = CLUSTERS[cluster] if isinstance(cluster, str) else cluster
        manifests = read_manifests(yaml.safe_dump_all(objects).encode())
        assert not manifests.problems
        known = {"api_audiences": tuple(case["api-audiences"])} if "api-audiences" in case else {}
        self.cluster = cluster_of(manifests.manifests, Cluster(**known))
        self.asked = {**case.get("request", {}), "old": case.get("old")}
        if "groups" in self.asked:
            self.asked["groups"] = tuple(self.asked["groups"])

    def decide(self, obj: dict[str, Any], phase: Phase) -> Decision:
        return evaluate(read_review(review(obj, **self.asked), phase), self.policy, self.cluster, NOW)


def the_object(case: dict[str, Any]) -> dict[str, Any]:
    kind = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}}
    obj = {**kind, **copy.deepcopy(case["object"])}
    return with_api_token(obj) if case.get("api-token") else obj


def told(decision: Decision) -> list[str]:
    return [*map(str, decision.rejections()), *map(str, decision.mistakes), *decision.warnings()]


@pytest.mark.parametrize(("rule", "case"), LOADED, ids=[f"{rule}: {case['case']}" for rule, case in LOADED])
def test_case(rule: str, case: dict[str, Any]) -> None:  # noqa: ARG001 - for the id
    assert set(case) <= KEYS, "a case has keys that mean nothing"
    judge = Judge(case)
    before = the_object(case)
    given = json.dumps(before)

    mutated = judge.decide(before, Phase.MUTATE)
    after = jsonpatch.apply_patch(before, list(mutated.patch))
    assert mutated.outcome == case.get("mutate", "patched" if "patched" in case else "allowed")
    assert json.dumps(before) == given
    if "patched" in case:
        expected = {**{key: before[key] for key in ("apiVersion", "kind", "metadata")}, **case["patched"]}
        assert after == expected, "the patch makes what the case says"
    else:
        assert after == before, "nothing is patched where the case says nothing of it"
    again = judge.decide(after, Phase.MUTATE)
    assert again.patch == (), "a second pass adds nothing"

    validated = judge.decide(after, Phase.VALIDATE)
    assert validated.outcome == case.get("validate", "allowed")
    assert not validated.patch
    said = told(mutated) + told(validated)
    if "told" in case:
        lines = validated.message("0").splitlines()[:-1]
        assert (len(lines), lines[-1]) == (case["told"], case["last"])
    else:
        assert said == case.get("says", [])
    checked = judge.decide(before, Phase.CHECK)
    if read_review(review(before, **judge.asked), Phase.CHECK).subject in (Subject.POD, Subject.POLICY):
        denied = case.get("check", validated.outcome) == "denied"
        assert (checked.outcome == "denied", checked.patch) == (denied, mutated.patch), "check foretells it"
    if "audited" in case:
        assert [str(one) for one in validated.findings if one.action is Action.AUDIT] == case["audited"]
    if "exempted" in case:
        assert [str(exemption) for _, exemption in validated.exemptions] == case["exempted"]
    if "unmutated" in case:
        unmutated = judge.decide(before, Phase.VALIDATE)
        assert unmutated.outcome == Outcome.DENIED
        assert told(unmutated) == case["unmutated"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_has_clean_broken_and_patched_cases(rule) -> None:
    cases = [case for name, case in LOADED if name == rule.name]
    about = f"{rule.name}: "
    assert any(not case.get("says") and "patched" not in case for case in cases), "no clean case"
    assert any(
        any(line.startswith(about) for line in case.get("says", []) + case.get("audited", [])) for case in cases
    ), "no broken case"
    if Action.PATCH in rule.actions:
        assert any("patched" in case for case in cases), "no patched case"


def test_every_file_of_cases_belongs_to_a_rule_or_to_the_policy() -> None:
    assert {name for name, _ in LOADED} == {rule.name for rule in RULES} | {"policy", "policy-configmap", "requests"}


def test_every_subject_is_judged_in_some_case() -> None:
    subjects = {
        read_review(review(the_object(case), **Judge(case).asked), Phase.VALIDATE).subject for _, case in LOADED
    }
    assert subjects >= set(Subject)
