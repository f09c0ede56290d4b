"""The options of a scan."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from webhook.core.policy.model import Action, Mode, Policy
from webhook.scan.audiences import ApiAudiences, effective_audiences

UNUSED_DAYS = 30
"""A job that runs once a month uses its token within these days."""


class PolicyInfo(Struct, frozen=True, gc=False, rename="camel"):
    """A policy."""

    revision: Annotated[str, Meta(description="The first 12 hex digits of the document's SHA-256.")]
    mode: Annotated[Mode, Meta(description="The mode outside of overrides.")]
    origin: Annotated[str, Meta(description="The file or ConfigMap that contains it.")]
    api_audiences: Annotated[ApiAudiences, Meta(description="The API server's audiences.")]


class ScanFilters(Struct, frozen=True, gc=False, rename="camel"):
    """Limits what is scanned and shown; no values: everything."""

    namespaces: Annotated[tuple[str, ...], Meta(description="The scanned namespaces, as globs.")] = ()
    rules: Annotated[tuple[str, ...], Meta(description="The rules whose findings are shown.")] = ()
    actions: Annotated[tuple[Action, ...], Meta(description="The actions whose findings are shown.")] = ()

    @property
    def show_all_findings(self) -> bool:
        """Whether every finding is shown."""
        return not (self.rules or self.actions)


NO_FILTERS = ScanFilters()


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """The policy, the simulated policy, where they are from, and what to scan at the time `now` (aware)."""

    policy: Policy
    policy_origin: str
    now: dt.datetime
    cluster: str
    simulated: Policy | None = None
    simulated_origin: str = ""
    filters: ScanFilters = NO_FILTERS
    unused_days: int = UNUSED_DAYS

    @property
    def custom_kinds(self) -> Mapping[tuple[str, str], str]:
        """The `workloads` of both policies, each with the JSON Pointer of its pod template."""
        return {**(self.simulated.workloads if self.simulated else {}), **self.policy.workloads}

    def policy_info(self, audiences: ApiAudiences) -> PolicyInfo:
        """Describe the policy; `audiences` are the API server's, as far as the cluster shows them."""
        return _info(self.policy, self.policy_origin, audiences)

    def simulated_info(self, audiences: ApiAudiences) -> PolicyInfo | None:
        """Describe the simulated policy."""
        return _info(self.simulated, self.simulated_origin, audiences) if self.simulated else None


def _info(policy: Policy, origin: str, audiences: ApiAudiences) -> PolicyInfo:
    return PolicyInfo(policy.revision, policy.mode, origin, effective_audiences(policy, audiences))
