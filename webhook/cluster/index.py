"""The legacy Secrets and the Namespaces of a cluster, as the `Cluster` that decisions are made by.

Every change gives a new `Cluster`, and nothing in one that was given out is ever changed: a reader has one state from
start to end, and takes no lock. Copied for a change are the dicts of the namespaces in which something changed, and
the dict of namespaces; the rest is shared.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from webhook.cluster.kept import Kept
from webhook.cluster.objects import Object
from webhook.cluster.reflector import Change
from webhook.core.cluster import Cluster
from webhook.core.selectors import Labels, labels


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
        self._known: dict[str, dict[str, str]] = {}

    def restore(self, kept: Kept) -> bool:
        """Take the Secrets that another worker knew."""
        if kept.cluster is None:
            return False
        self._known = {namespace: dict(secrets) for namespace, secrets in kept.cluster.legacy_tokens.items()}
        self._changed(self._known)
        return True

    def replace(self, objects: Iterable[Object]) -> None:
        """Take all Secrets there are."""
        known: dict[str, dict[str, str]] = {}
        accounts: dict[str, str] = {}  # many Secrets have an account in common: its name is kept once
        for found in objects:
            account = _account(found)
            known.setdefault(found.metadata.namespace, {})[found.metadata.name] = accounts.setdefault(account, account)
        self._known = known
        self._changed(known)

    def apply(self, changes: Sequence[Change[Object]]) -> None:
        """Take changes in their order; those that change nothing that is kept cost nothing."""
        fresh: dict[str, dict[str, str]] = {}
        for found, deleted in changes:
            namespace, name = found.metadata.namespace, found.metadata.name
            now = fresh.get(namespace, self._known.get(namespace, {}))
            account = None if deleted else _account(found)
            if now.get(name) == account:
                continue
            if namespace not in fresh:
                now = fresh[namespace] = dict(now)
            if account is None:
                del now[name]
            else:
                now[name] = account
        if fresh:
            self._known = {name: secrets for name, secrets in {**self._known, **fresh}.items() if secrets}
            self._changed(self._known)


class Namespaces:
    """Namespaces with their labels. A store for a reflector."""

    def __init__(self, changed: Callable[[Mapping[str, Labels]], None]) -> None:
        """Take what is to be told of the new state."""
        self._changed = changed
        self._known: dict[str, Labels] = {}

    def restore(self, kept: Kept) -> bool:
        """Take the Namespaces that another worker knew."""
        if kept.cluster is None:
            return False
        self._known = dict(kept.cluster.namespaces)
        self._changed(self._known)
        return True

    def replace(self, objects: Iterable[Object]) -> None:
        """Take all Namespaces there are."""
        self._known = {found.metadata.name: labels(found.metadata.labels) for found in objects}
        self._changed(self._known)

    def apply(self, changes: Sequence[Change[Object]]) -> None:
        """Take changes in their order."""
        known = dict(self._known)
        for found, deleted in changes:
            known.pop(found.metadata.name, None)
            if not deleted:
                known[found.metadata.name] = labels(found.metadata.labels)
        if known != self._known:
            self._known = known
            self._changed(known)


def _account(found: Object) -> str:
    return found.metadata.annotations.account if found.metadata.annotations else ""
