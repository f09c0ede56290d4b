"""The benchmark itself must go on running; what it measures in time is held here by counting the work instead."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.bench import __main__ as bench
from webhook.core import selectors
from webhook.core.cluster import Cluster
from webhook.core.evaluate import evaluate
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import Policy
from webhook.core.request import Phase, read_review


def test_it_prints_a_row_for_each_thing_measured(capsys, monkeypatch) -> None:
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "CALLS", 2)
    monkeypatch.setattr(bench, "MANY", 20)
    bench.main()
    assert len(capsys.readouterr().out.splitlines()) == 6


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.calls = 0

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        return lambda *arguments: self(instance, *arguments)

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        return self._function(*arguments)


@pytest.fixture
def comparisons(monkeypatch) -> Callable[[], int]:
    """Return what counts the comparisons of a name with a glob, and of a review with an exemption, so far."""
    globs = Counted(selectors.glob_matches)
    exempted = Counted(Exemption.is_for)
    monkeypatch.setattr(selectors, "glob_matches", globs)
    monkeypatch.setattr(Exemption, "is_for", exempted)
    return lambda: globs.calls + exempted.calls


def work(policy: Policy, comparisons: Callable[[], int]) -> int:
    """Return how much is compared for the first review of each of three namespaces."""
    before = comparisons()
    for namespace in ("fresh-1", "fresh-2", "fresh-3"):
        review = json.loads(bench.BODY)
        review["request"]["namespace"] = namespace
        request = read_review(json.dumps(review).encode(), Phase.MUTATE)
        evaluate(request, policy, Cluster(), bench.NOW)
    return comparisons() - before


@pytest.mark.parametrize("kind", [bench.exemptions, bench.overrides], ids=["exemptions", "overrides"])
def test_a_review_compares_as_much_with_10_000_as_with_10(kind, comparisons) -> None:
    few, many = (bench.policy(**{kind.__name__: kind(count)}) for count in (bench.FEW, bench.MANY))
    assert work(many, comparisons) == work(few, comparisons)


@pytest.mark.parametrize("kind", [bench.exemptions, bench.overrides], ids=["exemptions", "overrides"])
def test_what_matches_is_compared_and_counted(kind, comparisons) -> None:
    policy = bench.policy(**{kind.__name__: [one | {"namespaces": ["fresh-*"]} for one in kind(bench.FEW)]})
    assert work(policy, comparisons) > 0
