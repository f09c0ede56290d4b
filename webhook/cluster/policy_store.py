"""The policy in a ConfigMap: used if it is valid; otherwise reported, and the last valid one stays in force."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from webhook.cluster.api_types import ConfigMap
from webhook.cluster.reflector import ObjectChange
from webhook.cluster.state_persistence import StoredState
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.configmap import KEY
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy

log = logging.getLogger("tokenguard.cluster")
_MISSING = "missing"
"""In place of the digest of a ConfigMap that does not exist."""


class StateTarget(Protocol):
    """What uses the state. `last_synced` maps a resource to when it was last synced, in monotonic seconds."""

    last_synced: dict[str, float]

    def use_policy(self, policy: Policy) -> None:
        """Evaluate by this policy from now on."""
        ...

    def use_cluster(self, cluster: ClusterState) -> None:
        """Evaluate by this cluster from now on."""
        ...

    def set_ready(self, part: str) -> None:
        """Remember that something is loaded."""
        ...

    def set_not_ready(self, part: str, reason: str) -> None:
        """Remember why something could not be loaded; no effect once it is loaded."""
        ...


@dataclass(frozen=True)
class PolicyCallbacks:
    """`write` stores the document in force, and `read` returns the stored one.

    `on_reload` gets whether a policy was accepted, `create_event` a ConfigMap with its policy errors and its digest.
    """

    write: Callable[[str], None]
    read: Callable[[], str | None]
    on_reload: Callable[[bool], None]
    create_event: Callable[[ConfigMap, Sequence[str], str], None]


class PolicyStore:
    """The one ConfigMap, kept in sync by a reflector."""

    def __init__(self, name: str, target: StateTarget, callbacks: PolicyCallbacks) -> None:
        """Use the policy of the ConfigMap `namespace/name` in `target`."""
        self._name = f"ConfigMap {name}"
        self._target = target
        self._callbacks = callbacks
        self._last_digest = ""
        self._in_force = False

    def restore(self, stored: StoredState) -> bool:
        """Use the stored document; return False if there is none, or an invalid one."""
        return stored.policy is not None and not self._use(stored.policy)

    def replace(self, objects: Iterable[ConfigMap]) -> None:
        """Use the ConfigMap, or report that there is none."""
        config_maps = list(objects)
        self._load(config_maps[0] if config_maps else None)

    def apply(self, changes: Sequence[ObjectChange[ConfigMap]]) -> None:
        """Use the last of the changes: the others are outdated."""
        config_map, deleted = changes[-1]
        self._load(None if deleted else config_map)

    def _load(self, config_map: ConfigMap | None) -> None:
        """Use a document that is new, and report it once."""
        document = (config_map.data or {}).get(KEY) if config_map else None
        digest = _digest(document) if config_map else _MISSING
        if digest == self._last_digest:
            return
        errors = self._try(config_map, document)
        self._callbacks.on_reload(not errors)
        if errors:
            self._reject(errors)
            if config_map:
                self._callbacks.create_event(config_map, errors, digest)
        self._last_digest = digest  # at the end: after an exception the document is tried again

    def _try(self, config_map: ConfigMap | None, document: str | None) -> tuple[str, ...]:
        """Use a document and store it; return why that is impossible."""
        if config_map is None:
            return ("does not exist",)
        if document is None:
            return (f"has no key {KEY}",)
        errors = self._use(document)
        if not errors:
            self._callbacks.write(document)
        return errors

    def _use(self, document: str) -> tuple[str, ...]:
        policy = read_policy(document.encode())
        if not isinstance(policy, Policy):
            return tuple(str(error) for error in policy)
        self._target.use_policy(policy)
        log.info("policy in force: %s, revision %s, mode %s", self._name, policy.revision, policy.mode)
        self._in_force = True
        return ()

    def _reject(self, errors: Sequence[str]) -> None:
        stored = None if self._in_force else self._callbacks.read()
        if stored is not None:
            self._use(stored)
        for error in errors:
            log.error("policy not used: %s: %s", self._name, error)
        outcome = "the last valid one stays in force" if self._in_force else "none is in force yet, waiting for it"
        log.error("%s: %s", self._name, outcome)
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        self._target.set_not_ready("policy", f"policy not loaded: {self._name}: {errors[0]}{more}")


def _digest(document: str | None) -> str:
    return "none" if document is None else hashlib.sha256(document.encode()).hexdigest()
