"""Whom rules leave alone: finding the exemptions that hold, however many there are."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from webhook.core.bounded_cache import BoundedCache
from webhook.core.k8s_names import MAX_LABEL, MAX_SUBDOMAIN, MAX_USER_NAME
from webhook.core.selectors import Accounts, Globs, Index

CACHE_BYTES = 2 << 20
_MAX_ACCOUNT = MAX_LABEL + 1 + MAX_SUBDOMAIN
"""The most characters of an account: its name, after `namespace/` where it is another namespace's."""


@dataclass(frozen=True, slots=True)
class Exemption:
    """Whom rules leave alone, why, and until when; `until` is the last day (UTC), None means never ending."""

    rules: tuple[str, ...]
    reason: str
    until: dt.date | None
    namespaces: Globs = Globs()
    service_accounts: Accounts = Accounts()
    users: Globs = Globs()

    def is_active(self, now: dt.datetime) -> bool:
        """Say whether it still holds; `now` is aware, in any time zone."""
        return self.until is None or now.astimezone(dt.UTC).date() <= self.until

    def applies_to_namespace(self, namespace: str) -> bool:
        """Say whether it is for a namespace of this name."""
        return not self.namespaces or self.namespaces.match(namespace)

    def applies_to_account(self, namespace: str, account: str) -> bool:
        """Say whether it is for a ServiceAccount of this name there."""
        return not self.service_accounts or self.service_accounts.match(namespace, account)

    def applies_to(self, namespace: str, account: str, user: str, other_account: str | None = None) -> bool:
        """Say whether it is for what this user does with this account there, and with the other's token."""
        return (
            self.applies_to_namespace(namespace)
            and self.applies_to_account(namespace, account)
            and (not self.users or self.users.match(user))
            and (other_account is None or self.applies_to_account(namespace, other_account))
        )

    def __str__(self) -> str:
        return f"{self.reason} (until {self.until or 'never'})"


class ExemptionIndex:
    """All exemptions of a policy, by whom they are for; what was found last is remembered."""

    def __init__(self, exemptions: Iterable[Exemption]) -> None:
        """Compile them, in the order in which they stand in the policy."""
        every = tuple(exemptions)
        # a namespace's name is looked up with a slash behind it, so that it is never taken for an account's
        self._index = Index.of(
            (one.service_accounts.patterns or tuple(f"{pattern}/" for pattern in one.namespaces.patterns), one)
            for one in every
        )
        self._rules = frozenset(rule for one in every for rule in one.rules)
        self._found: BoundedCache[tuple[str, str, tuple[str, ...], str], tuple[Exemption, ...]] = BoundedCache(
            CACHE_BYTES
        )

    def __contains__(self, rule: str) -> bool:
        """Whether any exemption is from this rule."""
        return rule in self._rules

    def find(
        self, rule: str, namespace: str, accounts: tuple[str, ...], user: str, now: dt.datetime
    ) -> Exemption | None:
        """Return the first exemption from `rule` that holds now for all these accounts and this user, if there is one.

        The first of `accounts` is the object's own; a second one is that whose token a finding is about. None holds for
        a name that is longer than any in Kubernetes.
        """
        if rule not in self._rules:
            return None
        key = rule, namespace, accounts, user
        found = self._found.get(key)
        if found is None:
            if len(namespace) > MAX_LABEL or len(user) > MAX_USER_NAME or max(map(len, accounts)) > _MAX_ACCOUNT:
                return None
            account, *others = accounts
            found = tuple(
                exemption
                for exemption in self._index.find(account, f"{namespace}/{account}", f"{namespace}/")
                if rule in exemption.rules
                and exemption.applies_to(namespace, account, user)
                and all(exemption.applies_to_account(namespace, other) for other in others)
            )
            self._found.put(key, found)
        return next((exemption for exemption in found if exemption.is_active(now)), None)
