"""The options of a scan, and the policies in its report."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta, Struct

from webhook.core.formatting import FastStrEnum
from webhook.core.policy.model import Action, Mode, Policy
from webhook.core.selectors import Labels

UNUSED_DAYS = 30
"""A job that runs once a month uses its token within these days."""


class AudienceSource(FastStrEnum):
    """Where the API server's audiences are from, the most reliable first."""

    POLICY = "policy"
    GIVEN = "given"
    TOKEN = "token"  # noqa: S105 - a word
    ASSUMED = "assumed"


class ApiAudiences(Struct, frozen=True, gc=False, rename="camel"):
    """The API server's audiences. The webhook reads them from its own token, which a scan doesn't have."""

    names: Annotated[tuple[str, ...], Meta(description="The audiences.")]
    source: Annotated[
        AudienceSource,
        Meta(
            description="The policy, the command line, the token that the scan was made with, or assumed: the API"
            " server's issuer and the usual audiences."
        ),
    ]


class PolicyInfo(Struct, frozen=True, gc=False, rename="camel"):
    """A policy."""

    revision: Annotated[
        str,
        Meta(description="The first 12 hex digits of the document's SHA-256; empty: no policy, nothing is evaluated."),
    ]
    mode: Annotated[Mode, Meta(description="The mode outside of overrides.")]
    origin: Annotated[str, Meta(description="The file or ConfigMap that contains it.")]
    api_audiences: Annotated[ApiAudiences, Meta(description="The API server's audiences.")]
    namespace_modes: Annotated[
        dict[str, Mode],
        Meta(description="The scanned namespaces for which an override sets another mode, each with that mode."),
    ]


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
    context: str = field(default="", kw_only=True)
    simulated: Policy | None = None
    simulated_origin: str = ""
    filters: ScanFilters = NO_FILTERS
    unused_days: int = UNUSED_DAYS


def describe_policy(policy: Policy, origin: str, known: ApiAudiences, namespaces: Mapping[str, Labels]) -> PolicyInfo:
    """Describe a policy in namespaces with these labels; the audiences are its own or, if it names none, the known."""
    own = policy.api_server_token.audiences
    audiences = ApiAudiences(own, AudienceSource.POLICY) if own else known
    modes = {name: policy.in_namespace(name, labels).mode for name, labels in namespaces.items()}
    others = {name: mode for name, mode in modes.items() if mode is not policy.mode}
    return PolicyInfo(policy.revision, policy.mode, origin, audiences, others)
