"""The cache of a policy by namespace: possible names only, and of limited size."""

import pytest

from tests.policies import HEAD
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Messages, Policy
from webhook.core.selectors import labels


def policy() -> Policy:
    read = read_policy((HEAD + "overrides: [{namespaces: [n*], mode: warn}]\n").encode())
    assert isinstance(read, Policy)
    return read


def test_in_namespace_is_cached() -> None:
    subject = policy()
    assert subject.in_namespace("n" * 63, labels({})) is subject.in_namespace("n" * 63, labels({}))


def test_in_namespace_impossible_name_is_not_cached() -> None:
    subject = policy()
    first, second = (subject.in_namespace("n" * 64, labels({})) for _ in range(2))
    assert first is not second
    assert first.mode == second.mode == "warn"


@pytest.mark.parametrize(
    ("url", "contact", "text"),
    [
        ("", "", ""),
        ("https://x/y", "", "for help, see https://x/y"),
        ("", "#platform", "for help, contact #platform"),
        ("https://x/y", "#platform", "for help, see https://x/y or contact #platform"),
    ],
)
def test_help_names_what_is_given(url, contact, text) -> None:
    assert Messages(url, contact).help == text
