"""Globs, accounts and the index of what is found by name."""

import datetime as dt
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core import selectors
from webhook.core.policy.exemptions import Exemption, ExemptionIndex
from webhook.core.selectors import Accounts, Globs, Index, glob_matches

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
NAMES = st.text("ab/.", max_size=8)
PATTERNS = st.text("ab/.*", max_size=8)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("https://*.corp.example.com", "https://a.b.corp.example.com", True),
        ("https://*.corp.example.com", "https://evil.example/.corp.example.com", False),
        ("https://*.corp.example.com", "https://.corp.example.com", True),
        ("*", "", True),
        ("*", "a/b", False),
        ("*/*", "a/b", True),
        ("a*b*c", "aXbYbZc", True),
        ("a*a", "a", False),
        ("[ab]?", "a1", False),
        ("a.c", "abc", False),
        ("vault", "Vault", False),
        ("vault", "vaul\u0442", False),
        ("vault", "\uff56ault", False),
        ("vault", "vault\u200b", False),
        ("vault", "vault\n", False),
        ("team-\u00e9", "team-e\u0301", False),
        ("team-*", "Team-a", False),
        ("team-*", "te\u0430m-a", False),
        ("ci/*", "ci/../x", False),
        ("https://*.corp.example.com", "https://evil.example\\/.corp.example.com", False),
    ],
)
@pytest.mark.covers("threat-model: look-alike audience")
def test_star_matches_any_run_except_a_slash(pattern: str, name: str, matches: bool) -> None:  # noqa: FBT001
    assert glob_matches(pattern, name) is matches


@given(PATTERNS, NAMES)
def test_globs_match_as_the_regular_expression_would(pattern: str, name: str) -> None:
    expression = "".join("[^/]*" if char == "*" else re.escape(char) for char in pattern)
    assert glob_matches(pattern, name) is bool(re.fullmatch(expression, name, re.DOTALL))


def test_pattern_of_many_stars_takes_linear_time() -> None:
    assert not glob_matches("*a" * 50 + "b", "a" * 20_000)  # a backtracking matcher would not come back


@pytest.mark.parametrize("pattern", ["team-{}-*", "*-team-{}", "a*-team-{}", "team-{}-*z"])
@pytest.mark.covers("threat-model: expensive policy")
def test_index_compares_few_of_many_globs(monkeypatch, pattern: str) -> None:
    index = Index.of(((pattern.format(number),), number) for number in range(10_000))
    compared = []
    monkeypatch.setattr(selectors, "glob_matches", lambda *names: compared.append(names) or glob_matches(*names))
    assert list(index.find(pattern.format(4711).replace("*", "b"))) == [4711]
    assert len(compared) < 10


@given(st.lists(st.lists(PATTERNS, max_size=3), max_size=6), NAMES)
def test_index_finds_what_a_linear_search_finds(things: list[list[str]], name: str) -> None:
    index = Index.of((patterns, number) for number, patterns in enumerate(things))
    expected = [any(glob_matches(pattern, name) for pattern in patterns) for patterns in things]
    assert list(index.find(name)) == [at for at, patterns in enumerate(things) if not patterns or expected[at]]
    assert [Globs(tuple(patterns)).match(name) for patterns in things] == expected


@pytest.mark.parametrize(
    ("patterns", "matches"),
    [(("app",), True), (("demo/app",), True), (("demo/*",), True), (("other/app",), False), (("a*",), True)],
)
def test_accounts_are_name_or_namespace_and_name(patterns: tuple[str, ...], matches: bool) -> None:  # noqa: FBT001
    assert Accounts(patterns).match("demo", "app") is matches


@pytest.mark.parametrize(
    ("namespace", "accounts", "user", "holds"),
    [
        pytest.param("n" * 63, ("a" * 253, f"{'n' * 63}/{'a' * 253}"), "u" * 512, True, id="longest names"),
        pytest.param("n" * 64, ("a",), "u", False, id="namespace"),
        pytest.param("n", ("a" * 318,), "u", False, id="account"),
        pytest.param("n", ("a", "a" * 318), "u", False, id="other account"),
        pytest.param("n", ("a",), "u" * 513, False, id="user"),
    ],
)
def test_exemption_does_not_hold_for_a_name_that_no_object_has(namespace, accounts, user, *, holds) -> None:
    exemption = Exemption(("r",), "for all", None)
    exempt = ExemptionIndex([exemption])
    for _ in range(2):
        assert exempt.find("r", namespace, accounts, user, NOW) == (exemption if holds else None)
    assert len(exempt._matches) == holds


def test_exemptions_are_found_as_looking_at_each_would() -> None:
    exemptions = [
        Exemption(("r",), f"{number}", None, Globs(namespaces), Accounts(accounts), Globs(users))
        for number, (namespaces, accounts, users) in enumerate(
            itertools.product(
                [(), ("demo",), ("de*",), ("other",)], [(), ("app",), ("demo/*",), ("demo",)], [(), ("admin",), ("x*",)]
            )
        )
    ]
    index = ExemptionIndex(exemptions)
    for namespace, account, user, other in itertools.product(
        ["demo", "other", "app"], ["app", "demo"], ["admin", "xy", ""], [None, "app", "robot"]
    ):
        accounts = (account,) if other is None else (account, other)
        first = next(
            (exemption for exemption in exemptions[1:] if exemption.applies_to(namespace, account, user, other)), None
        )
        assert ExemptionIndex(exemptions[1:]).find("r", namespace, accounts, user, NOW) == first
        assert index.find("r", namespace, accounts, user, NOW) == exemptions[0]
        assert index.find("s", namespace, accounts, user, NOW) is None


@pytest.mark.covers("threat-model: expensive policy")
def test_exemption_look_up_of_many_that_apply_is_cached(monkeypatch) -> None:
    ended, valid = NOW.date() - dt.timedelta(1), NOW.date()
    exemptions = [Exemption(("r",), "", ended)] * 9_000 + [Exemption(("r",), "", valid)] * 1_000
    searches = []
    find = Index.find
    monkeypatch.setattr(Index, "find", lambda *names: searches.append(names) or find(*names))
    index = ExemptionIndex(exemptions)
    for _ in range(2):
        assert index.find("r", "demo", ("app",), "user", NOW) is exemptions[9_000]
    assert len(searches) == 1
