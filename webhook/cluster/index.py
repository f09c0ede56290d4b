"""The legacy Secrets and the Namespaces of a cluster, as the `Cluster` that decisions are made by.

Every change gives a new `Cluster`, and nothing in one that was given out is ever changed: a reader has one state from
start to end, and takes no lock. What a change leaves as it was is shared (`parted`).
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from webhook.cluster.objects import Object
from webhook.cluster.parted import Parted
from webhook.cluster.reflector import Change
from webhook.cluster.state_persistence import StoredState
from webhook.core.cluster import Cluster
from webhook.core.k8s_names import is_dns_subdomain
from webhook.core.selectors import Labels, labels

_NONE: Parted[str] = Parted()


class Index:
    """Both together: published once both have been loaded."""

    def __init__(self, base: Cluster, publish: Callable[[Cluster], None]) -> None:
        """Take the cluster's other properties, and what is to be told of each new state."""
        self._cluster = base
        self._publish = publish
        self._missing = {"legacy_tokens", "namespaces"}
        self._lock = threading.Lock()
        self.secrets = Secrets(lambda tokens: self._change(legacy_tokens=tokens))
        self.namespaces = Namespaces(lambda found: self._change(namespaces=found))

    def _change(self, **part: Mapping[str, Mapping[str, str]] | Mapping[str, Labels]) -> None:
        with self._lock:  # Secrets and Namespaces are two threads
            self._missing.difference_update(part)
            self._cluster = replace(self._cluster, **part)  # type: ignore[arg-type]  # each part is of its own type
            if not self._missing:
                self._publish(self._cluster)


class Secrets:
    """Secrets of the legacy type by namespace and name, with the account of each. A store for a reflector."""

    def __init__(self, changed: Callable[[Mapping[str, Mapping[str, str]]], None]) -> None:
        """Take what is to be told of the new state."""
        self._changed = changed
        self._known: Parted[Parted[str]] = Parted()

    def restore(self, stored: StoredState) -> bool:
        """Use the Secrets that a predecessor knew."""
        if stored.cluster is None:
            return False
        self._take({name: Parted(dict(secrets)) for name, secrets in stored.cluster.legacy_tokens.items()})
        return True

    def replace(self, objects: Iterable[Object]) -> None:
        """Take all Secrets there are."""
        known: dict[str, dict[str, str]] = {}
        accounts: dict[str, str] = {}  # many Secrets have an account in common: its name is kept once
        for found in objects:
            account = _account(found)
            known.setdefault(found.metadata.namespace, {})[found.metadata.name] = accounts.setdefault(account, account)
        self._take({namespace: Parted(secrets) for namespace, secrets in known.items()})

    def apply(self, changes: Sequence[Change[Object]]) -> None:
        """Take changes in their order; those that change nothing that is kept cost nothing."""
        last: dict[str, dict[str, str | None]] = {}
        for found, deleted in changes:
            last.setdefault(found.metadata.namespace, {})[found.metadata.name] = None if deleted else _account(found)
        fresh: dict[str, Parted[str] | None] = {}
        for namespace, accounts in last.items():
            now = self._known.get(namespace, _NONE)
            if news := {name: account for name, account in accounts.items() if now.get(name) != account}:
                fresh[namespace] = now.changed(news) or None
        if fresh:
            self._known = self._known.changed(fresh)
            self._changed(self._known)

    def _take(self, known: dict[str, Parted[str]]) -> None:
        self._known = Parted(known)
        self._changed(self._known)


class Namespaces:
    """Namespaces with their labels. A store for a reflector."""

    def __init__(self, changed: Callable[[Mapping[str, Labels]], None]) -> None:
        """Take what is to be told of the new state."""
        self._changed = changed
        self._known: Parted[Labels] = Parted()

    def restore(self, stored: StoredState) -> bool:
        """Use the Namespaces that a predecessor knew."""
        if stored.cluster is None:
            return False
        self._take(dict(stored.cluster.namespaces))
        return True

    def replace(self, objects: Iterable[Object]) -> None:
        """Take all Namespaces there are."""
        self._take({found.metadata.name: labels(found.metadata.labels) for found in objects})

    def apply(self, changes: Sequence[Change[Object]]) -> None:
        """Take changes in their order; those that change nothing that is kept cost nothing."""
        last = {found.metadata.name: None if deleted else labels(found.metadata.labels) for found, deleted in changes}
        if news := {name: now for name, now in last.items() if self._known.get(name) != now}:
            self._known = self._known.changed(news)
            self._changed(self._known)

    def _take(self, known: dict[str, Labels]) -> None:
        self._known = Parted(known)
        self._changed(self._known)


def _account(found: Object) -> str:
    """Return the account that a Secret names; empty where it names none, or none that there can be."""
    account = found.metadata.annotations.account if found.metadata.annotations else ""
    return account if is_dns_subdomain(account) else ""
