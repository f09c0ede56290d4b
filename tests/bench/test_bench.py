"""The benchmark itself must go on running; what it measures in time is held here by counting the work instead."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.bench import __main__ as bench
from tests.bench import deciding, over_https
from tests.bench.checking import check
from tests.bench.load import HINT, have_wrk
from tests.bench.table import Row, lines
from webhook.core import selectors
from webhook.core.admission_request import Phase, read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.evaluate import evaluate
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import Policy


def test_row_has_figures_and_whether_the_goal_is_met() -> None:
    assert Row("a: b", "3", "2", 1.5, 1.6).cells == ("a: b", "3", "2", "1.50", "at most 1.6: met")
    assert Row("a: b", "4", "2", 2.0, 1.6).cells[-1] == "at most 1.6: not met"
    assert Row("a: b", "4", "2", 2.0, 3.5, should_be_more=True).cells[-1] == "at least 3.5: not met"
    assert not Row("a: b", "4", "2", 2.0).cells[-1]


def test_table_is_aligned() -> None:
    assert lines(("what", "n"), [("a", "100")]) == ["| what | n   |", "|------|-----|", "| a    | 100 |"]


def test_decisions_are_measured_each_against_another(monkeypatch) -> None:
    monkeypatch.setattr(deciding, "ROUNDS", 1)
    monkeypatch.setattr(deciding, "CALLS", 2)
    monkeypatch.setattr(deciding, "MANY", 20)
    monkeypatch.setattr(deciding, "SECRETS", (0, 20))
    rows = list(deciding.rows())
    assert len(rows) == 6
    assert all(row.ratio > 0 for row in rows)


def test_check_is_measured_over_files(tmp_path) -> None:
    assert check(tmp_path / "manifests", count=3, rounds=1).ratio > 0


@pytest.mark.parametrize("arguments", [["nonsense"], ["--rounds", "some"]])
def test_part_that_cannot_be_measured_is_named(arguments, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as raised:
        bench.main()
    assert raised.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_without_wrk_its_part_is_left_out_with_a_hint(monkeypatch, capsys) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    monkeypatch.setattr("sys.argv", ["bench", "load"])
    monkeypatch.setattr(over_https, "in_flight", lambda _folder: Row("in flight", "1", "1", 1))
    bench.main()
    said = capsys.readouterr().out
    assert "apt-get install wrk" in said
    assert "| in flight |" in said


@pytest.mark.skipif(not have_wrk(), reason=HINT)
def test_tokenguard_is_measured_beside_both_baselines(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(over_https, "LOADS", over_https.LOADS[:1])
    monkeypatch.setattr(over_https, "COMPILED_FOLDER", tmp_path / "none")
    measured = list(over_https.measure(tmp_path, 1, 1))
    rows = [row for load in measured for row in over_https.cells(load)]
    assert [row[2] for row in rows] == [over_https.ASGI, over_https.WORKER, over_https.PURE]
    assert all(len(row) == len(over_https.HEAD) for row in rows)
    assert len(list(over_https.goals(measured))) == 2
    assert (tmp_path / f"{over_https.PURE}.audit").read_bytes()
    assert not (tmp_path / f"{over_https.WORKER}.audit").read_bytes()


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
    exempted = Counted(Exemption.applies_to)
    monkeypatch.setattr(selectors, "glob_matches", globs)
    monkeypatch.setattr(Exemption, "applies_to", exempted)
    return lambda: globs.calls + exempted.calls


def work(policy: Policy, comparisons: Callable[[], int]) -> int:
    """Return how much is compared for the first review of each of three namespaces."""
    before = comparisons()
    for namespace in ("fresh-1", "fresh-2", "fresh-3"):
        review = json.loads(deciding.BODY)
        review["request"]["namespace"] = namespace
        request = read_review(json.dumps(review).encode(), Phase.MUTATE)
        evaluate(request, policy, ClusterState(), deciding.NOW)
    return comparisons() - before


@pytest.mark.parametrize("kind", [deciding.exemptions, deciding.overrides], ids=["exemptions", "overrides"])
def test_comparisons_of_a_review_do_not_grow_with_the_policy(kind, comparisons) -> None:
    few, many = (deciding.policy(**{kind.__name__: kind(count)}) for count in (deciding.FEW, deciding.MANY))
    assert work(many, comparisons) == work(few, comparisons)


@pytest.mark.parametrize("kind", [deciding.exemptions, deciding.overrides], ids=["exemptions", "overrides"])
def test_comparisons_of_matching_entries_are_counted(kind, comparisons) -> None:
    policy = deciding.policy(**{kind.__name__: [entry | {"namespaces": ["fresh-*"]} for entry in kind(deciding.FEW)]})
    assert work(policy, comparisons) > 0
