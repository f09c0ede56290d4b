"""The numbers of a scan's report."""

from typing import Annotated

from msgspec import Meta, Struct

from webhook.core.policy.model import Action
from webhook.scan.evaluation_result import Namespace, Rule


class OutcomeCounts(Struct, frozen=True, gc=False, rename="camel"):
    """Numbers by outcome."""

    allowed: Annotated[int, Meta(description="Neither warned, patched nor denied.")] = 0
    warned: Annotated[int, Meta(description="With a warning.")] = 0
    patched: Annotated[int, Meta(description="With a patch.")] = 0
    denied: Annotated[int, Meta(description="Denied.")] = 0

    @property
    def total(self) -> int:
        """The sum."""
        return self.allowed + self.warned + self.patched + self.denied


class RuleCount(Struct, frozen=True, gc=False, rename="camel"):
    """How many pods (or templates without pods), Secrets in use, accounts and CSIDrivers violate a rule."""

    namespace: Namespace
    rule: Rule
    action: Annotated[Action, Meta(description="The action.")]
    count: Annotated[int, Meta(description="Under the policy.")]
    simulated: Annotated[int | None, Meta(description="Under the simulated policy.")] = None


class ExemptCounts(Struct, frozen=True, gc=False, rename="camel"):
    """Numbers of objects that are exempt from a rule which they violate; of an expired exemption: would be."""

    workloads: Annotated[int, Meta(description="Workloads with an exempt pod or template.")]
    pods: Annotated[int, Meta(description="The exempt pods of these workloads.")]
    secrets: Annotated[
        int | None, Meta(description="Legacy Secrets in use; null in the summary if Secrets could not be read.")
    ]
    service_accounts: Annotated[int, Meta(description="ServiceAccounts.")]
    csi_drivers: Annotated[int, Meta(description="CSIDrivers.")]


class ScanSummary(Struct, frozen=True, gc=False, rename="camel"):
    """Numbers of the scanned objects."""

    namespaces: Annotated[int, Meta(description="The scanned namespaces.")]
    finished_pods: Annotated[int, Meta(description="Succeeded and failed pods, which no other number includes.")]
    pods: Annotated[OutcomeCounts, Meta(description="Running pods.")]
    workloads: Annotated[OutcomeCounts, Meta(description="Workloads by their worst outcome.")]
    secrets: Annotated[
        OutcomeCounts | None, Meta(description="Legacy Secrets in use; null if Secrets could not be read.")
    ]
    simulated_pods: Annotated[OutcomeCounts | None, Meta(description="Pods under the simulated policy.")]
    simulated_workloads: Annotated[OutcomeCounts | None, Meta(description="Workloads under the simulated policy.")]
    simulated_secrets: Annotated[OutcomeCounts | None, Meta(description="The same under the simulated policy.")]
    exempt: Annotated[ExemptCounts, Meta(description="What is exempt from a rule.")]
    simulated_exempt: Annotated[
        ExemptCounts | None, Meta(description="What is exempt from a rule under the simulated policy.")
    ]
