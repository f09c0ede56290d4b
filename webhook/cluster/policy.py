"""The policy in a ConfigMap: put in force when it is sound; told, and otherwise without effect, when it isn't.

Every worker follows the ConfigMap. What there is to tell (log, metric, Event) one of them tells.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from webhook.cluster.kept import Kept, KeptPolicy
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
    """What is told to whom: `keep` what is in force, `counted` whether a policy was used, `told_of` a ConfigMap's
    mistakes. `kept` gives what another worker has kept.
    """  # noqa: D205 - one thought

    once: Once
    keep: Callable[[KeptPolicy], None]
    kept: Callable[[], Kept]
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
        self._uid = ""
        self._in_force: str | None = None

    def restore(self, kept: Kept) -> bool:
        """Take the document that another worker has in force."""
        if kept.policy is None:
            return False
        self._uid = self._uid or kept.policy.uid
        return not self._use(kept.policy.document)

    def replace(self, objects: Iterable[ConfigMap]) -> None:
        """Take the ConfigMap, or that there is none."""
        found = list(objects)
        if found:
            self._look(found[0])
        else:
            self._gone()

    def apply(self, changes: Sequence[Change[ConfigMap]]) -> None:
        """Take the last of the changes: what it was in between is over."""
        found, deleted = changes[-1]
        if deleted:
            self._uid = found.metadata.uid
            self._gone()
        else:
            self._look(found)

    def _look(self, found: ConfigMap) -> None:
        self._uid = found.metadata.uid
        document = (found.data or {}).get(KEY)
        digest = "none" if document is None else hashlib.sha256(document.encode()).hexdigest()
        if digest != self._examined:
            self._examine(found, document, digest)
        self._examined = digest  # at the end: what failed half-way is looked at again
        self._keep()

    def _examine(self, found: ConfigMap, document: str | None, digest: str) -> None:
        mistakes = (f"has no key {KEY}",) if document is None else self._use(document)
        first = self._outlets.once.first(f"{digest} {found.metadata.resource_version}")
        if mistakes:
            self._fall_back()
            self._reject(mistakes, tell=first)
            if first:
                self._outlets.told_of(found, mistakes, digest)
        elif first:
            log.info("policy in force: %s, %s", self._where, digest[:12])
            self._outlets.counted(True)  # noqa: FBT003 - the callable's one argument

    def _gone(self) -> None:
        self._examined = None
        self._fall_back()
        # One that was there is deleted once, and whether that was seen or found out later, it is known by its uid.
        self._reject(("is not there",), tell=self._outlets.once.first(f"gone {self._uid}"))

    def _use(self, document: str) -> tuple[str, ...]:
        policy = read_policy(document.encode())
        if not isinstance(policy, Policy):
            return tuple(str(mistake) for mistake in policy)
        self._judged.use_policy(policy)
        self._in_force = document
        self._keep()
        return ()

    def _keep(self) -> None:
        if self._in_force is not None:
            self._outlets.keep(KeptPolicy(self._in_force, self._uid))

    def _fall_back(self) -> None:
        """Use what another worker has kept, where this one has had nothing sound yet."""
        if self._in_force is None:
            self.restore(self._outlets.kept())

    def _reject(self, mistakes: Sequence[str], *, tell: bool) -> None:
        if tell:
            for mistake in mistakes:
                log.error("policy not used: %s: %s", self._where, mistake)
            none = self._in_force is None
            stays = "there is none to judge by yet" if none else "the last good one stays in force"
            log.error("%s: %s", self._where, stays)
            self._outlets.counted(False)  # noqa: FBT003 - as above
        more = f" (and {len(mistakes) - 1} more mistakes)" if len(mistakes) > 1 else ""
        self._judged.lacks("policy", f"policy not loaded: {self._where}: {mistakes[0]}{more}")
