"""What a policy remembers of namespaces: only of such as there can be, and never without end."""

from tests.policies import HEAD
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.core.selectors import labels


def policy() -> Policy:
    read = read_policy((HEAD + "overrides: [{namespaces: [n*], mode: warn}]\n").encode())
    assert isinstance(read, Policy)
    return read


def test_what_holds_in_a_namespace_is_worked_out_once() -> None:
    one = policy()
    assert one.in_namespace("n" * 63, labels({})) is one.in_namespace("n" * 63, labels({}))


def test_a_name_that_no_namespace_has_is_judged_like_any_other_but_not_remembered() -> None:
    one = policy()
    first, second = (one.in_namespace("n" * 64, labels({})) for _ in range(2))
    assert first is not second
    assert first.mode == second.mode == "warn"
