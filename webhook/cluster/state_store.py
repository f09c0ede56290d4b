"""The legacy Secrets and the Namespaces of a cluster, as the `ClusterState` that decisions are made by.

Every change gives a new `ClusterState`, and nothing in one that was given out is ever changed: a reader has one state
from start to end, and takes no lock. A change copies the dict of its namespace and the one of all namespaces; the rest
is shared. With 100,000 Secrets that takes 5 us where each namespace has 100, and 1.3 ms where one namespace has all.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from webhook.cluster.api_types import ApiObject
from webhook.cluster.reflector import ObjectChange
from webhook.cluster.state_persistence import StoredState
from webhook.core.cluster_state import ClusterState
from webhook.core.k8s_names import is_dns_subdomain
from webhook.core.selectors import Labels, labels

_NONE: Mapping[str, str] = {}
V = TypeVar("V")


class StateStore:
    """Both together: published once both have been loaded."""

    def __init__(self, base: ClusterState, publish: Callable[[ClusterState], None]) -> None:
        """Take the cluster's other properties, and what is to be told of each new state."""
        self._cluster = base
        self._publish = publish
        self._missing = {"legacy_tokens", "namespaces"}
        self._lock = threading.Lock()
        self.secrets = SecretStore(lambda tokens: self._change(legacy_tokens=tokens))
        self.namespaces = NamespaceStore(lambda found: self._change(namespaces=found))

    def _change(self, **part: Mapping[str, Mapping[str, str]] | Mapping[str, Labels]) -> None:
        with self._lock:  # Secrets and Namespaces are two threads
            self._missing.difference_update(part)
            self._cluster = replace(self._cluster, **part)  # type: ignore[arg-type]  # each part is of its own type
            if not self._missing:
                self._publish(self._cluster)


class SecretStore:
    """Secrets of the legacy type by namespace and name, with the account of each. A store for a reflector."""

    def __init__(self, changed: Callable[[Mapping[str, Mapping[str, str]]], None]) -> None:
        """Take what is to be told of the new state."""
        self._changed = changed
        self._known: Mapping[str, Mapping[str, str]] = {}

    def restore(self, stored: StoredState) -> bool:
        """Use the Secrets that a predecessor knew."""
        if stored.cluster is None:
            return False
        self._take(stored.cluster.legacy_tokens)
        return True

    def replace(self, objects: Iterable[ApiObject]) -> None:
        """Take all Secrets there are."""
        known: dict[str, dict[str, str]] = {}
        accounts: dict[str, str] = {}  # many Secrets have an account in common: its name is kept once
        for found in objects:
            account = _account(found)
            known.setdefault(found.metadata.namespace, {})[found.metadata.name] = accounts.setdefault(account, account)
        self._take(known)

    def apply(self, changes: Sequence[ObjectChange[ApiObject]]) -> None:
        """Take changes in their order; those that change nothing that is kept cost nothing."""
        last: dict[str, dict[str, str | None]] = {}
        for found, deleted in changes:
            last.setdefault(found.metadata.namespace, {})[found.metadata.name] = None if deleted else _account(found)
        fresh: dict[str, Mapping[str, str] | None] = {}
        for namespace, accounts in last.items():
            now = self._known.get(namespace, _NONE)
            if news := {name: account for name, account in accounts.items() if now.get(name) != account}:
                fresh[namespace] = _changed(now, news) or None
        if fresh:
            self._take(_changed(self._known, fresh))

    def _take(self, known: Mapping[str, Mapping[str, str]]) -> None:
        self._known = known
        self._changed(known)


class NamespaceStore:
    """Namespaces with their labels. A store for a reflector."""

    def __init__(self, changed: Callable[[Mapping[str, Labels]], None]) -> None:
        """Take what is to be told of the new state."""
        self._changed = changed
        self._known: Mapping[str, Labels] = {}

    def restore(self, stored: StoredState) -> bool:
        """Use the Namespaces that a predecessor knew."""
        if stored.cluster is None:
            return False
        self._take(stored.cluster.namespaces)
        return True

    def replace(self, objects: Iterable[ApiObject]) -> None:
        """Take all Namespaces there are."""
        self._take({found.metadata.name: labels(found.metadata.labels) for found in objects})

    def apply(self, changes: Sequence[ObjectChange[ApiObject]]) -> None:
        """Take changes in their order; those that change nothing that is kept cost nothing."""
        last = {found.metadata.name: None if deleted else labels(found.metadata.labels) for found, deleted in changes}
        if news := {name: now for name, now in last.items() if self._known.get(name) != now}:
            self._take(_changed(self._known, news))

    def _take(self, known: Mapping[str, Labels]) -> None:
        self._known = known
        self._changed(known)


def _changed(content: Mapping[str, V], changes: Mapping[str, V | None]) -> dict[str, V]:
    """Return the content with these values, and without the keys whose value is None."""
    copy = dict(content)
    for key, value in changes.items():
        if value is None:
            copy.pop(key, None)
        else:
            copy[key] = value
    return copy


def _account(found: ApiObject) -> str:
    """Return the account that a Secret names; empty where it names none, or none that there can be."""
    account = found.metadata.annotations.account if found.metadata.annotations else ""
    return account if is_dns_subdomain(account) else ""
