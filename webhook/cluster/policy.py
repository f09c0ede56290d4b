"""The policy in a ConfigMap: put in force when it is sound; told, and otherwise without effect, when it isn't.

Every worker follows the ConfigMap. What there is to tell (log, metric, Event) one of them tells.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from webhook.cluster.kept import Kept
from webhook.cluster.objects import ConfigMap
from webhook.cluster.once import Once
from webhook.cluster.reflector import Change
from webhook.core.policy.configmap import KEY
from webhook.core.policy.document import read_policy
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
    """What is told to whom: `keep` each document that is put in force, `counted` whether one was, `told_of` a
    ConfigMap's mistakes. `kept` gives what another worker has kept, where there is something.
    """  # noqa: D205 - one thought

    once: Once
    keep: Callable[[str], None]
    kept: Callable[[], Kept | None]
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

    def restore(self, kept: Kept) -> bool:
        """Take the document that another worker has in force."""
        return kept.policy is not None and not self._use(kept.policy)

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
        digest = "none" if document is None else hashlib.sha256(document.encode()).hexdigest()
        if digest == self._examined:
            return
        mistakes = (f"has no key {KEY}",) if document is None else self._use(document)
        first = self._outlets.once.first(f"{digest} {found.metadata.resource_version}")
        if mistakes:
            self._reject(mistakes, tell=first)
            if first:
                self._outlets.told_of(found, mistakes, digest)
        elif first:
            log.info("policy in force: %s, %s", self._where, digest[:12])
            self._outlets.counted(True)  # noqa: FBT003 - the callable's one argument
        self._examined = digest  # at the end: what failed half-way is looked at again

    def _gone(self, version: str) -> None:
        self._examined = None
        self._reject(("is not there",), tell=self._outlets.once.first(f"gone {version}"))

    def _use(self, document: str) -> tuple[str, ...]:
        policy = read_policy(document.encode())
        if not isinstance(policy, Policy):
            return tuple(str(mistake) for mistake in policy)
        self._judged.use_policy(policy)
        self._outlets.keep(document)
        self._in_force = policy.revision
        return ()

    def _reject(self, mistakes: Sequence[str], *, tell: bool) -> None:
        if not self._in_force and (kept := self._outlets.kept()):
            self.restore(kept)
        if tell:
            for mistake in mistakes:
                log.error("policy not used: %s: %s", self._where, mistake)
            stays = "the last good one stays in force" if self._in_force else "there is none to judge by yet"
            log.error("%s: %s", self._where, stays)
            self._outlets.counted(False)  # noqa: FBT003 - as above
        more = f" (and {len(mistakes) - 1} more mistakes)" if len(mistakes) > 1 else ""
        self._judged.lacks("policy", f"policy not loaded: {self._where}: {mistakes[0]}{more}")
