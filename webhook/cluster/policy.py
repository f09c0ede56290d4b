"""The policy in a ConfigMap: put in force when it is sound; told, and otherwise without effect, when it isn't.

Every worker follows the ConfigMap. What there is to tell (log, metric, Event) one of them tells.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from webhook.cluster.objects import ConfigMap
from webhook.cluster.once import Once
from webhook.cluster.reflector import Change
from webhook.core.policy.document import KEY, read_policy
from webhook.core.policy.model import Policy

log = logging.getLogger("tokenguard.cluster")


class Judged(Protocol):
    """What a policy is put in force in."""

    def use_policy(self, policy: Policy) -> None:
        """Judge by this policy from now on."""
        ...

    def lacks(self, what: str, why: str) -> None:
        """Remember why something could not be loaded; of no effect once it has been."""
        ...


@dataclass(frozen=True)
class Outlets:
    """What is told to whom: `counted` whether a policy was used, `told_of` a ConfigMap's mistakes. `kept` is a file
    for the last sound document, so that a worker that starts while the ConfigMap is bad has it too.
    """  # noqa: D205 - one thought

    once: Once
    kept: Path
    counted: Callable[[bool], None]
    told_of: Callable[[ConfigMap, Sequence[str], str], None]


class PolicyStore:
    """The one ConfigMap. A store for a reflector."""

    def __init__(self, where: str, judged: Judged, outlets: Outlets) -> None:
        """Take the ConfigMap's `namespace/name`, and what depends on it."""
        self._where = f"ConfigMap {where}"
        self._judged = judged
        self._outlets = outlets
        self._examined: str | None = None
        self._in_force = ""

    def replace(self, objects: Iterable[ConfigMap]) -> None:
        """Take the ConfigMap, or that there is none."""
        found = list(objects)
        if found:
            self._look(found[0])
        else:
            self._gone("")

    def apply(self, changes: Sequence[Change[ConfigMap]]) -> None:
        """Take the last of the changes: what it was in between is over."""
        found, deleted = changes[-1]
        if deleted:
            self._gone(found.metadata.resource_version)
        else:
            self._look(found)

    def _look(self, found: ConfigMap) -> None:
        document = (found.data or {}).get(KEY)
        data = (document or "").encode()
        digest = hashlib.sha256(data).hexdigest() if document is not None else "none"
        if digest == self._examined:
            return
        mistakes = self._use(data) if document is not None else (f"has no key {KEY}",)
        first = self._outlets.once.first(f"{digest} {found.metadata.resource_version}")
        if mistakes:
            self._reject(mistakes, tell=first)
            if first:
                self._outlets.told_of(found, mistakes, digest)
        else:
            _replace(self._outlets.kept, data)
            if first:
                log.info("policy in force: %s, %s", self._where, digest[:12])
                self._outlets.counted(True)  # noqa: FBT003 - the callable's one argument
        self._examined = digest  # at the end: what failed half-way is looked at again

    def _gone(self, version: str) -> None:
        self._examined = None
        self._reject(("is not there",), tell=self._outlets.once.first(f"gone {version}"))

    def _use(self, data: bytes) -> tuple[str, ...]:
        policy = read_policy(data)
        if not isinstance(policy, Policy):
            return tuple(str(mistake) for mistake in policy)
        self._judged.use_policy(policy)
        self._in_force = policy.revision
        return ()

    def _reject(self, mistakes: Sequence[str], *, tell: bool) -> None:
        if not self._in_force and self._outlets.kept.exists():
            self._use(self._outlets.kept.read_bytes())
        if tell:
            for mistake in mistakes:
                log.error("policy not used: %s: %s", self._where, mistake)
            stays = "the last good one stays in force" if self._in_force else "there is none to judge by yet"
            log.error("%s: %s", self._where, stays)
            self._outlets.counted(False)  # noqa: FBT003 - as above
        more = f" (and {len(mistakes) - 1} more mistakes)" if len(mistakes) > 1 else ""
        self._judged.lacks("policy", f"policy not loaded: {self._where}: {mistakes[0]}{more}")


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(path)
