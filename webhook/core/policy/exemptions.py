"""Exemptions, and the index that finds the active one for an object among thousands."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from webhook.core.bounded_cache import BoundedCache
from webhook.core.k8s_names import MAX_LABEL, MAX_SUBDOMAIN, MAX_USER_NAME
from webhook.core.selectors import Accounts, Globs, Index

CACHE_BYTES = 2 << 20
_MAX_ACCOUNT = MAX_LABEL + 1 + MAX_SUBDOMAIN
"""The maximum length of an account, as `namespace/name`."""


@dataclass(frozen=True, slots=True)
class Exemption:
    """Objects that rules leave alone, why, and until when: `until` is the last day (UTC), None is never."""

    rules: tuple[str, ...]
    reason: str
    until: dt.date | None
    namespaces: Globs = Globs()
    service_accounts: Accounts = Accounts()
    users: Globs = Globs()

    @property
    def last_day(self) -> dt.date:
        """The last day on which it is valid (UTC)."""
        return self.until or dt.date.max

    def is_active(self, now: dt.datetime) -> bool:
        """Return whether it has not expired; `now` has a time zone."""
        return self.until is None or now.astimezone(dt.UTC).date() <= self.until

    def applies_to_namespace(self, namespace: str) -> bool:
        """Return whether it applies to a namespace."""
        return not self.namespaces or self.namespaces.match(namespace)

    def applies_to_account(self, namespace: str, account: str) -> bool:
        """Return whether it applies to a ServiceAccount of a namespace."""
        return not self.service_accounts or self.service_accounts.match(namespace, account)

    def applies_to(self, namespace: str, account: str, user: str, other_account: str | None = None) -> bool:
        """Return whether it applies to this user, this account and the token of the other account."""
        return (
            self.applies_to_namespace(namespace)
            and self.applies_to_account(namespace, account)
            and (not self.users or self.users.match(user))
            and (other_account is None or self.applies_to_account(namespace, other_account))
        )

    def __str__(self) -> str:
        return f"{self.reason} (until {self.until or 'never'})"


class ExemptionIndex:
    """Finds exemptions by account, namespace and user, and caches the latest results."""

    def __init__(self, exemptions: Iterable[Exemption]) -> None:
        """Index the exemptions, in the order of the policy."""
        every = tuple(exemptions)
        # a namespace's name is looked up with a slash behind it, so that few others are found by it
        self._index = Index.of(
            (
                exemption.service_accounts.patterns
                or tuple(f"{name}/" for name in exemption.namespaces.patterns)
                or exemption.users.patterns,
                exemption,
            )
            for exemption in every
        )
        self._rules = frozenset(rule for exemption in every for rule in exemption.rules)
        self._matches: BoundedCache[tuple[str, str, tuple[str, ...], str], tuple[Exemption, ...]] = BoundedCache(
            CACHE_BYTES
        )

    def __contains__(self, rule: str) -> bool:
        """Return whether any exemption names this rule."""
        return rule in self._rules

    def find(
        self, rule: str, namespace: str, accounts: tuple[str, ...], user: str, now: dt.datetime
    ) -> Exemption | None:
        """Return the first exemption from `rule` that is active now for all these accounts and this user, or None.

        The first of `accounts` is the object's own; a second one is that whose token a finding is about. A name that is
        too long for Kubernetes matches no exemption.
        """
        if rule not in self._rules:
            return None
        key = rule, namespace, accounts, user
        matches = self._matches.get(key)
        if matches is None:
            if len(namespace) > MAX_LABEL or len(user) > MAX_USER_NAME or max(map(len, accounts)) > _MAX_ACCOUNT:
                return None
            account, *others = accounts
            matches = _first_to_apply(
                exemption
                for exemption in self._index.find(account, f"{namespace}/{account}", f"{namespace}/", user)
                if rule in exemption.rules
                and exemption.applies_to(namespace, account, user)
                and all(exemption.applies_to_account(namespace, other) for other in others)
            )
            self._matches.put(key, matches)
        return next((exemption for exemption in matches if exemption.is_active(now)), None)


def _first_to_apply(exemptions: Iterable[Exemption]) -> tuple[Exemption, ...]:
    """Return those that are the first active one at any time: each is valid for longer than all before it."""
    first: list[Exemption] = []
    for exemption in exemptions:
        if not first or first[-1].last_day < exemption.last_day:
            first.append(exemption)
    return tuple(first)
