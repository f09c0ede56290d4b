"""What is valid in a policy but has no effect: warnings for who writes it."""

import datetime as dt
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from webhook.core.documents.document import Path
from webhook.core.formatting import listing, quote
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import Action, Injection, Override, Policy, TokenLimits
from webhook.core.selectors import Globs, Index, glob_matches

LEFT_ALONE = "kube-system"
"""The namespace that no rule applies to."""
_NAMESPACE = re.compile(r"[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?")


def ineffective(policy: Policy, now: dt.datetime) -> Iterator[tuple[Path, str]]:
    """Yield the place of each part without effect, and why it has none. `now` is aware."""
    yield from _audiences(policy)
    yield from _overrides(policy)
    yield from _injections(policy)
    yield from _exemptions(policy, now)


def without_entries(policy: Policy, entries: Collection[tuple[str, int]]) -> Policy:
    """Return a policy in which the overrides and exemptions at these places match nothing; the others keep theirs."""
    nothing = ("",)
    return (
        replace(
            policy,
            overrides=tuple(
                replace(override, namespaces=nothing) if ("overrides", number) in entries else override
                for number, override in enumerate(policy.overrides)
            ),
            exemptions=tuple(
                replace(exemption, namespaces=Globs(nothing)) if ("exemptions", number) in entries else exemption
                for number, exemption in enumerate(policy.exemptions)
            ),
        )
        if entries
        else policy
    )


def count_compared(policy: Policy) -> int:
    """Return the number of entries and patterns that `ineffective` compares with one another."""
    selectors = [
        part.patterns
        for exemption in policy.exemptions
        for part in (exemption.namespaces, exemption.users, exemption.service_accounts)
    ]
    selectors += [
        part.patterns for injection in policy.injections for part in (injection.namespaces, injection.service_accounts)
    ]
    selectors += [override.namespaces for override in policy.overrides]
    entries = len(policy.exemptions) + len(policy.injections) + len(policy.overrides)
    return entries + sum(map(len, selectors))


def _audiences(policy: Policy) -> Iterator[tuple[Path, str]]:
    """Yield the patterns that allow nearly every audience: they have neither letters nor digits."""
    lists: list[tuple[Path, TokenLimits]] = [((), policy.tokens)]
    lists += [
        (("overrides", number), override.tokens)
        for number, override in enumerate(policy.overrides)
        if override.tokens.audiences.allowed != policy.tokens.audiences.allowed
    ]
    for path, tokens in lists:
        for index, pattern in enumerate(tokens.audiences.allowed.patterns):
            if not any(map(str.isalnum, pattern)):
                message = f"{quote(pattern)} allows audiences that nobody has named; list the audiences in use"
                yield (*path, "tokens", "audiences", "allowed", index), message


def _overrides(policy: Policy) -> Iterator[tuple[Path, str]]:
    entries = [*enumerate(policy.overrides)]
    earlier = Index.of((override.namespaces, number) for number, override in entries)
    changing = [
        (override.namespaces, number) for number, override in entries if not _is_like_defaults(policy, override)
    ]
    later, last = Index.of(changing), changing[-1][1] if changing else -1
    for number, override in entries:
        path = ("overrides", number)
        impossible = [*_impossible_names(path, override.namespaces)]
        yield from impossible
        shadows: set[int] = set()
        for pattern in override.namespaces or ("*",):
            shadow = next((
                other for other in takewhile(number.__gt__, earlier.find(pattern))
                if policy.overrides[other].namespace_labels <= override.namespace_labels
            ), None)  # fmt: skip
            if shadow is None:
                break
            shadows.add(shadow)
        else:
            names = " and ".join(f"overrides[{shadow}]" for shadow in sorted(shadows))
            yield path, f"never applies: {names} before it matches all of its namespaces; move it up, or remove it"
            continue
        if any("*" in pattern for pattern in override.namespaces or ("*",)):
            shadows_later = number < last  # a pattern that may match the same name
        else:
            shadows_later = any(other > number for name in override.namespaces for other in later.find(name))
        if not impossible and not shadows_later and _is_like_defaults(policy, override):
            yield path, "has no effect: its mode, rules and tokens are those of the policy itself; remove it"
        elif unused := _unused_defaults(policy, number):
            message = f"applies to every other namespace, so nothing uses the policy's own {', '.join(unused)}"
            yield path, f"{message}; set that there instead, or add namespaces or namespaceLabels"


def _is_like_defaults(policy: Policy, override: Override) -> bool:
    return (override.mode, override.rules, override.tokens) == (policy.mode, policy.rules, policy.tokens)


def _unused_defaults(policy: Policy, number: int) -> list[str]:
    """Return the policy's own values that no namespace has because an override is for all other namespaces."""
    override = policy.overrides[number]
    if override.namespace_labels or not ("*" in override.namespaces or not override.namespaces):
        return []
    used = policy.overrides[: number + 1]
    unused = [] if any(each.mode is policy.mode for each in used) else ["mode"]
    for rule, action in policy.rules.items():
        if all(each.rules[rule] is not action for each in used):
            unused.append(f"rules.{rule}")
    return unused if any(each.tokens == policy.tokens for each in used) else [*unused, "tokens"]


def _impossible_names(path: Path, patterns: Collection[str]) -> Iterator[tuple[Path, str]]:
    """Yield a warning if no namespace that rules apply to can have a name that the patterns match."""
    invalid = [pattern for pattern in patterns if not _NAMESPACE.fullmatch(pattern)]
    if invalid:
        yield (*path, "namespaces"), f"no namespace can be called {listing(invalid)}: names have a-z, 0-9 and inner -"
    elif patterns and all(pattern == LEFT_ALONE for pattern in patterns):
        yield path, f"never applies: {LEFT_ALONE} is not evaluated"


def _rules_off(policy: Policy) -> set[str]:
    """Return the rules that are off in every namespace."""
    every = (policy.rules, *(override.rules for override in policy.overrides))
    return {rule for rule in policy.rules if all(rules[rule] is Action.OFF for rules in every)}


def _injections(policy: Policy) -> Iterator[tuple[Path, str]]:
    if policy.injections and "inject" in _rules_off(policy):
        yield ("inject",), "injects nothing: the action of the rule inject is off"
    for number, injection in enumerate(policy.injections):
        path = ("inject", number)
        yield from _impossible_names(path, injection.namespaces.patterns)
        if _accounts_elsewhere(injection):
            yield path, f"reaches no pod: {_elsewhere(injection)}"


def _accounts_elsewhere(selected: Injection | Exemption) -> bool:
    """Return whether all accounts are in other namespaces than the selected ones."""
    accounts, namespaces = selected.service_accounts.patterns, selected.namespaces.patterns
    return bool(accounts and namespaces) and not any(
        "/" not in account or _may_both_match(account.partition("/")[0], namespace)
        for account in accounts for namespace in namespaces
    )  # fmt: skip


def _elsewhere(selected: Injection | Exemption) -> str:
    accounts, namespaces = listing(selected.service_accounts.patterns), listing(selected.namespaces.patterns)
    return f"the ServiceAccounts {accounts} are not in the namespaces {namespaces}"


def _may_both_match(first: str, second: str) -> bool:
    """Return whether a name may match both patterns; True if both have a `*` and begin and end alike."""
    if "*" not in first or "*" not in second:
        return glob_matches(first, second) or glob_matches(second, first)
    ends = [(pattern.partition("*")[0], pattern.rpartition("*")[2]) for pattern in (first, second)]
    (start, end), (other_start, other_end) = ends
    starts_alike = start.startswith(other_start) or other_start.startswith(start)
    return starts_alike and (end.endswith(other_end) or other_end.endswith(end))


def _exemptions(policy: Policy, now: dt.datetime) -> Iterator[tuple[Path, str]]:
    earlier = Index.of((_selected(exemption), number) for number, exemption in enumerate(policy.exemptions))
    off = _rules_off(policy)
    for number, exemption in enumerate(policy.exemptions):
        path = ("exemptions", number)
        yield from _impossible_names(path, exemption.namespaces.patterns)
        if not exemption.is_active(now):
            yield (*path, "until"), f"ended on {exemption.until}; remove the exemption"
            continue
        if _accounts_elsewhere(exemption):
            yield path, f"applies to nothing: {_elsewhere(exemption)}"
        if off.issuperset(exemption.rules):
            yield path, f"has no effect: the action of {listing(exemption.rules)} is off in every namespace"
        elif exemption.until is None and _selects_all(exemption) and {*exemption.rules} >= policy.rules.keys():
            message = "exempts every object from every rule, for ever"
            yield path, f"{message}; select namespaces, serviceAccounts or users, or set until to a date"
        for other in takewhile(number.__gt__, earlier.find(*_first_names(exemption))):
            if _covers(policy.exemptions[other], exemption):
                yield (
                    path,
                    f"has no effect: exemptions[{other}] matches everything that this one does, and ends no earlier",
                )
                break


def _selects_all(exemption: Exemption) -> bool:
    """Return whether it has no selector that leaves something out."""
    return (
        _all_matched(exemption.namespaces.patterns, ("*",))
        and _all_matched(exemption.users.patterns, ("*",))
        and _all_matched(exemption.service_accounts.patterns, ("*/*",), by_name=True)
    )


def _selected(exemption: Exemption) -> Sequence[str]:
    """Return the patterns of one of its selectors."""
    return exemption.namespaces.patterns or exemption.users.patterns or exemption.service_accounts.patterns


def _first_names(exemption: Exemption) -> Iterator[str]:
    """Yield names of which each exemption with selectors that covers this one matches one."""
    for selector in (exemption.namespaces, exemption.users, exemption.service_accounts):
        for pattern in selector.patterns[:1]:
            yield from (pattern, pattern.rpartition("/")[2])


def _covers(exemption: Exemption, other: Exemption) -> bool:
    """Return whether an exemption covers everything that another one does, at least as long."""
    return (
        set(exemption.rules) >= set(other.rules)
        and (exemption.until is None or (other.until is not None and exemption.until >= other.until))
        and _all_matched(exemption.namespaces.patterns, other.namespaces.patterns)
        and _all_matched(exemption.users.patterns, other.users.patterns)
        and _all_matched(exemption.service_accounts.patterns, other.service_accounts.patterns, by_name=True)
    )


def _all_matched(patterns: Sequence[str], others: Sequence[str], *, by_name: bool = False) -> bool:
    """Return whether the patterns match every name that the others do; no pattern matches all names.

    A pattern matches all names of another one if it matches its text: a `*` there is matched by a `*` alone. With
    `by_name` a pattern without a slash is also matched against what is behind the other's slash.
    """
    if not patterns:
        return True
    return bool(others) and all(
        any(
            glob_matches(pattern, other)
            or (by_name and "/" not in pattern and glob_matches(pattern, other.rpartition("/")[2]))
            for pattern in patterns
        )
        for other in others
    )
