"""The policy in a ConfigMap: in force if it is valid; otherwise reported, and the last valid one stays in force."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from webhook.cluster.api_types import ConfigMap
from webhook.cluster.reflector import ObjectChange
from webhook.cluster.state_persistence import StoredState
from webhook.core.policy.configmap import KEY
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy

log = logging.getLogger("tokenguard.cluster")
_MISSING = "missing"
"""In place of the digest of a ConfigMap that does not exist."""


class PolicyTarget(Protocol):
    """What the policy is put in force in."""

    def use_policy(self, policy: Policy) -> None:
        """Evaluate by this policy from now on."""
        ...

    def set_not_ready(self, part: str, reason: str) -> None:
        """Remember why something could not be loaded; of no effect once it has been."""
        ...


@dataclass(frozen=True)
class PolicyCallbacks:
    """What the store calls: `write` stores a document that is in force, and `read` returns the stored one.

    `counted` takes whether a policy was accepted, `create_event` a ConfigMap with its policy errors and its digest.
    """

    write: Callable[[str], None]
    read: Callable[[], str | None]
    counted: Callable[[bool], None]
    create_event: Callable[[ConfigMap, Sequence[str], str], None]


class PolicyStore:
    """The one ConfigMap. A store for a reflector."""

    def __init__(self, where: str, state: PolicyTarget, outlets: PolicyCallbacks) -> None:
        """Take the ConfigMap's `namespace/name`, and what depends on it."""
        self._where = f"ConfigMap {where}"
        self._state = state
        self._outlets = outlets
        self._examined = ""
        self._in_force = False

    def restore(self, stored: StoredState) -> bool:
        """Use the document that a predecessor had in force; return False if there is none."""
        return stored.policy is not None and not self._use(stored.policy)

    def replace(self, objects: Iterable[ConfigMap]) -> None:
        """Take the ConfigMap, or that there is none."""
        found = list(objects)
        self._look(found[0] if found else None)

    def apply(self, changes: Sequence[ObjectChange[ConfigMap]]) -> None:
        """Take the last of the changes: the others are outdated."""
        found, deleted = changes[-1]
        self._look(None if deleted else found)

    def _look(self, found: ConfigMap | None) -> None:
        """Use what is new, and report it once."""
        document = (found.data or {}).get(KEY) if found else None
        digest = _digest(document) if found else _MISSING
        if digest == self._examined:
            return
        errors = self._examine(found, document)
        if not errors:
            log.info("policy in force: %s, %s", self._where, digest[:12])
            self._outlets.counted(True)  # noqa: FBT003 - the callable's one argument
        else:
            self._reject(errors)
            if found:
                self._outlets.create_event(found, errors, digest)
        self._examined = digest  # at the end: what failed half-way is examined again

    def _examine(self, found: ConfigMap | None, document: str | None) -> tuple[str, ...]:
        """Put the policy in force and store it; return why that is impossible."""
        if found is None:
            return ("is not there",)
        if document is None:
            return (f"has no key {KEY}",)
        errors = self._use(document)
        if not errors:
            self._outlets.write(document)
        return errors

    def _use(self, document: str) -> tuple[str, ...]:
        policy = read_policy(document.encode())
        if not isinstance(policy, Policy):
            return tuple(str(mistake) for mistake in policy)
        self._state.use_policy(policy)
        self._in_force = True
        return ()

    def _reject(self, errors: Sequence[str]) -> None:
        stored = None if self._in_force else self._outlets.read()
        if stored is not None:
            self._use(stored)
        for error in errors:
            log.error("policy not used: %s: %s", self._where, error)
        stays = "the last valid one stays in force" if self._in_force else "none is in force yet"
        log.error("%s: %s", self._where, stays)
        self._outlets.counted(False)  # noqa: FBT003 - as above
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        self._state.set_not_ready("policy", f"policy not loaded: {self._where}: {errors[0]}{more}")


def _digest(document: str | None) -> str:
    return "none" if document is None else hashlib.sha256(document.encode()).hexdigest()
