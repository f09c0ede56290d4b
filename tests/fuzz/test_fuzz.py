"""A short run, the same each time; and that a run finds what it is there to find."""

import json
import random
import time
from typing import Any

import pytest

from tests.fuzz import loop
from tests.fuzz.loop import Target, fuzz
from tests.fuzz.policies import Policies
from tests.fuzz.reviews import Reviews, canonical
from webhook.core.admission_request import read_review
from webhook.core.json_patch import assemble
from webhook.core.policy.loader import read_policy
from webhook.core.rules import inject

SEED = 20261123
MOST_EXECUTIONS = 30_000
"""A fault is found much earlier, but how early is chance: it changes with every golden case."""


def first_broken(target: type[Target], executions: int) -> str:
    """Return how the first promise was broken, or nothing if none was."""
    run = fuzz(target(random.Random(SEED)), executions=executions, until_broken=True)
    assert run.broken or run.executions == executions
    return next((f"{failure.data!r}, checker {failure.which}: {failure.how}" for failure in run.broken.values()), "")


@pytest.mark.covers("failure-modes: any body", "failure-modes: any patch")
def test_fuzzed_review_gets_one_valid_answer() -> None:
    assert not first_broken(Reviews, 3_000)


@pytest.mark.covers("failure-modes: any policy")
def test_fuzzed_policy_is_valid_or_has_printable_errors() -> None:
    assert not first_broken(Policies, 1_500)


def an_error_of_ours(monkeypatch) -> None:
    def clean_path(path: str | None) -> str:
        assert path != "/v/"
        return path or ""

    monkeypatch.setattr(inject, "clean_path", clean_path)


def half_a_patch(monkeypatch) -> None:
    monkeypatch.setattr("webhook.core.evaluate.assemble", lambda edits: assemble(edits)[1:])


def a_list_replaced(monkeypatch) -> None:
    def replaced(edits: Any) -> tuple[dict[str, Any], ...]:
        made = assemble(edits)
        return (*made, {"op": "replace", "path": "/spec/containers", "value": [{"name": "app"}]})

    monkeypatch.setattr("webhook.core.evaluate.assemble", replaced)


def the_first_of_two_keys(monkeypatch) -> None:
    def first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(reversed(pairs))

    def read(body: bytes, *others: Any) -> Any:
        if canonical(body) is not None:
            body = json.dumps(json.loads(body.decode(errors="replace"), object_pairs_hook=first)).encode()
        return read_review(body, *others)

    monkeypatch.setattr("webhook.server.review_handler.read_review", read)


def keys_of_any_case(monkeypatch) -> None:
    def read(body: bytes, *others: Any) -> Any:
        return read_review(body.replace(b'"Spec"', b'"spec"').replace(b'"SPEC"', b'"spec"'), *others)

    monkeypatch.setattr("webhook.server.review_handler.read_review", read)


FAULTS = {
    an_error_of_ours: "an error of tokenguard's own",
    half_a_patch: "assert",
    a_list_replaced: "/spec/containers",
    the_first_of_two_keys: "is said of what another reader finds in it",
    keys_of_any_case: "is said of what another reader finds in it",
}


@pytest.mark.parametrize(("fault", "broken"), FAULTS.items(), ids=[fault.__name__ for fault in FAULTS])
@pytest.mark.covers("failure-modes: any body", "failure-modes: odd JSON")
def test_fuzzing_finds_a_wrong_decision(fault, broken, monkeypatch) -> None:
    fault(monkeypatch)
    assert broken in first_broken(Reviews, MOST_EXECUTIONS)


@pytest.mark.covers("failure-modes: any policy")
def test_fuzzing_finds_a_slow_document(monkeypatch) -> None:
    def slow(data: bytes) -> Any:
        while b"*" in data:
            time.monotonic()
        return read_policy(data)

    monkeypatch.setattr("tests.fuzz.policies.read_policy", slow)
    monkeypatch.setattr(loop, "CPU_SECONDS", 0.01)
    assert "TooSlowError" in first_broken(Policies, 300)


@pytest.mark.covers("failure-modes: any policy")
def test_fuzzing_finds_a_document_that_takes_too_much_memory(monkeypatch) -> None:
    monkeypatch.setattr("tests.fuzz.policies.read_policy", lambda data: read_policy(data + b" " * (2 << 30)))
    assert "MemoryError" in first_broken(Policies, 3)
