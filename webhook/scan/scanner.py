"""A scan: takes what makes pods, then the pods, one after the other, and tells what it found.

Of a pod is kept what is told of it, and not the pod; pods of one owner that are alike are kept as one.
"""

from collections.abc import Iterator, Mapping
from itertools import chain

from webhook.core.objects import OwnerReference, PodTemplate
from webhook.core.policy.model import Policy
from webhook.core.selectors import Globs
from webhook.scan import aggregate
from webhook.scan.api_types import Pod
from webhook.scan.cluster_snapshot import ClusterSnapshot
from webhook.scan.evaluation_result import Change, PodEvaluation, PodGroup, PodToken
from webhook.scan.evaluator import PolicyEvaluator, is_mirror
from webhook.scan.exemption_usage import CountedResult, ExemptionUsage, ExemptionUsageCounter, ScanCoverage
from webhook.scan.filters import FindingFilter
from webhook.scan.legacy_secrets import LegacySecretAnalyzer, references
from webhook.scan.options import ScanOptions
from webhook.scan.owners import OwnerIndex, OwnerKey, TemplateRevision
from webhook.scan.pod_tokens import tokens_of
from webhook.scan.policy_diff import change_between
from webhook.scan.recreate import Automounts, pod_from_template, recreated_pod, replacement_pod
from webhook.scan.report import Account, AccountWithoutPermissions, CsiDriver, LegacySecret, Owner, ScanReport

_Group = tuple[str, tuple[PodToken, ...], PodEvaluation, PodEvaluation | None, Change]


class Scanner:
    """One scan, from what is known of the cluster to the report."""

    def __init__(self, asked: ScanOptions, known: ClusterSnapshot) -> None:
        """Take what to do, and what was read of the cluster up to now."""
        self._asked = asked
        self._known = known
        self._cluster = known.cluster()
        self._judge = self._judge_by(asked.policy)
        self._simulated = self._judge_by(asked.simulated) if asked.simulated else None
        self._namespaces = Globs(asked.filters.namespaces)
        self._owners = OwnerIndex()
        self._groups: dict[OwnerKey, dict[_Group, list[str]]] = {}
        self._next: dict[OwnerKey, PodGroup] = {}
        self._finished_pods = 0

    @property
    def workloads(self) -> Mapping[tuple[str, str], str]:
        """The custom kinds that create pods of its policies, each with the JSON Pointer of its pod template."""
        return self._asked.workloads

    def maker(
        self,
        group_kind: tuple[str, str],
        found_as: tuple[str, str],
        controller: OwnerReference | None,
        origin: TemplateRevision,
        *,
        makes_pods: bool,
    ) -> None:
        """Take something that makes pods: its API group and kind, its namespace and name, and its template.

        `makes_pods` says that its pods name it as their controller (those of a Deployment name its ReplicaSet).
        """
        template = origin.template
        namespace, name = found_as
        if not self._is_wanted(namespace):
            return
        maker = OwnerKey(namespace, *group_kind, name)
        if self._owners.add(maker, controller, origin if makes_pods else None):
            view = self._judge.view(namespace, template)
            pod = pod_from_template(template, self._automounts(namespace))
            self._next[maker] = PodGroup((), view.account, tokens_of(view), *self._verdicts(namespace, pod))

    def pod(self, pod: Pod) -> None:
        """Take a pod. Of one that is finished nothing is told: it has no tokens, and isn't created again."""
        meta = pod.metadata
        namespace, name = meta.namespace or "", meta.name or ""
        if not self._is_wanted(namespace):
            return
        if pod.finished:
            self._finished_pods += 1
            return
        maker, origin = self._owners.of(namespace, name, meta.controller)
        view = self._judge.view(namespace, pod)
        again: PodTemplate
        if is_mirror(pod):
            again = pod
        elif origin and not origin.is_of(pod):
            again = replacement_pod(pod, origin.template, self._automounts(namespace))
        else:
            again = recreated_pod(view, origin and origin.template, self._automounts(namespace))
        group = (view.account, tokens_of(view), *self._verdicts(namespace, again))
        self._groups.setdefault(maker, {}).setdefault(group, []).append(name)

    def report(self) -> ScanReport:
        """Return what was found."""
        asked = self._asked
        owners = tuple(sorted(self._owned(), key=lambda one: (one.namespace, one.kind, one.name, one.group)))
        secrets = tuple(sorted(self._legacy_secrets(owners), key=lambda one: (one.namespace, one.name)))
        accounts = tuple(sorted(self._accounts(), key=lambda one: (one.namespace, one.name)))
        drivers = tuple(sorted(self._csi_drivers(), key=lambda driver: driver.name))
        judged, simulated = aggregate.judged(owners, secrets, accounts, drivers)
        told = FindingFilter(asked.filters)
        names = {one for one in self._known.namespaces if self._is_wanted(one)}
        names |= {one.namespace for one in chain[Owner | LegacySecret](owners, secrets)}
        return ScanReport(
            time=asked.now,
            cluster=asked.cluster,
            policy=asked.used(self._known.api_audiences),
            simulated=asked.simulated_used(self._known.api_audiences),
            filters=asked.filters,
            summary=aggregate.summary(len(names), self._finished_pods, owners, secrets),
            rule_counts=told.counts(aggregate.rule_counts(judged, simulated if asked.simulated else None)),
            owners=told.owners(owners),
            accounts=tuple(told.accounts(accounts)),
            csi_drivers=tuple(told.csi_drivers(drivers)),
            legacy_secrets=told.secrets(secrets),
            tracked_since=self._known.tracked_since,
            unused_days=asked.unused_days,
            tokens=aggregate.token_uses(owners),
            accounts_without_permissions=self._idle_accounts(owners),
            exemptions=self._states(asked.policy, judged),
            simulated_exemptions=self._states(asked.simulated, simulated) if asked.simulated else None,
            unread=tuple(self._known.unread),
        )

    def _judge_by(self, policy: Policy) -> PolicyEvaluator:
        return PolicyEvaluator(policy, self._cluster, self._asked.now)

    def _is_wanted(self, namespace: str) -> bool:
        return not self._namespaces or self._namespaces.match(namespace)

    def _automounts(self, namespace: str) -> Automounts:
        return lambda account: self._cluster.automounts.get((namespace, account), True)

    def _verdicts(self, namespace: str, pod: PodTemplate) -> tuple[PodEvaluation, PodEvaluation | None, Change]:
        verdict, patch = self._judge.pod(namespace, pod)
        if self._simulated is None:
            return verdict, None, Change.NONE
        other, its_patch = self._simulated.pod(namespace, pod)
        return verdict, other, change_between(verdict.judgement, other.judgement, same_patch=patch == its_patch)

    def _owned(self) -> Iterator[Owner]:
        for maker in {**self._next, **self._groups}:
            alike = self._groups.get(maker, {}).items()
            pods = [PodGroup(tuple(sorted(names)), *group) for group, names in alike]
            pods.sort(key=lambda one: one.names)
            yield Owner(*maker, tuple(pods), self._next.get(maker))

    def _legacy_secrets(self, owners: tuple[Owner, ...]) -> Iterator[LegacySecret]:
        look = LegacySecretAnalyzer(references(owners), self._known, self._asked.now, self._asked.unused_days)
        for secrets, is_copy in ((self._known.secrets, False), (self._known.used_copies, True)):
            for secret in secrets:
                if self._is_wanted(secret.metadata.namespace or ""):
                    yield look.analyze(secret, self._judge, self._simulated, is_copy=is_copy)

    def _accounts(self) -> Iterator[Account]:
        for found in self._known.accounts:
            namespace, name = found.metadata.namespace or "", found.metadata.name or ""
            if not self._is_wanted(namespace):
                continue
            judgement = self._judge.account(namespace, name, found)
            simulated = self._simulated.account(namespace, name, found) if self._simulated else None
            change = change_between(judgement, simulated) if simulated else Change.NONE
            account = Account(name, judgement, simulated, change, namespace=namespace)
            if account.has_results:
                yield account

    def _csi_drivers(self) -> Iterator[CsiDriver]:
        """Yield the CSI drivers with findings; none if namespaces are selected, as they belong to none."""
        for found in () if self._asked.filters.namespaces else self._known.csi_drivers:
            name = found.metadata.name or ""
            judgement = self._judge.csi_driver(name, found)
            simulated = self._simulated.csi_driver(name, found) if self._simulated else None
            change = change_between(judgement, simulated) if simulated else Change.NONE
            driver = CsiDriver(name, judgement, simulated, change)
            if driver.has_results:
                yield driver

    def _idle_accounts(self, owners: tuple[Owner, ...]) -> tuple[AccountWithoutPermissions, ...] | None:
        bindings = self._known.bindings
        return None if bindings is None else aggregate.accounts_without_permissions(owners, bindings)

    def _states(self, policy: Policy, judged: list[CountedResult]) -> tuple[ExemptionUsage, ...]:
        complete = not any(one.affects_decisions for one in self._known.unread)
        every = self._known.namespaces if self._known.all_namespaces else ()
        sight = ScanCoverage(every, self._namespaces, complete)
        return ExemptionUsageCounter(policy.exemptions, self._asked.now, sight).of(judged)
