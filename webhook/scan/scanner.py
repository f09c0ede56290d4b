"""Evaluates the workloads and pods of a cluster one by one, and builds the report.

Pods themselves are not kept, only their results; pods of one workload that are alike share one result.
"""

from collections.abc import Iterator, Mapping
from operator import attrgetter

from msgspec.structs import replace

from webhook.core.exclusions import SYSTEM_NAMESPACE
from webhook.core.k8s_types import ObjectIdentity, OwnerReference, Pod
from webhook.core.kinds import Subject
from webhook.core.pod_context import PodContext
from webhook.core.policy.model import Action, Policy
from webhook.core.selectors import Globs
from webhook.scan import aggregate
from webhook.scan.api_types import LegacyTokenSecret, LivePod
from webhook.scan.cluster_snapshot import ClusterSnapshot
from webhook.scan.evaluation_result import (
    Admission,
    Change,
    EvaluationResult,
    PodEvaluation,
    PodGroup,
    PodToken,
    ReportedFinding,
)
from webhook.scan.evaluator import NonPod, PolicyEvaluator, is_mirror
from webhook.scan.exemption_usage import CountedResult, ExemptionUsage, ExemptionUsageCounter, ScanCoverage
from webhook.scan.exit_status import exit_status
from webhook.scan.filters import FindingFilter
from webhook.scan.legacy_secrets import ImagePulls, LegacySecretAnalyzer, recreated_secret, references
from webhook.scan.options import ScanOptions, describe_policy
from webhook.scan.owners import OwnerIdentity, OwnerIndex, OwnerKey, TemplateRevision, object_title
from webhook.scan.pod_admission import INCLUDE_HINT, REPAIR_HINT, RESTORE_HINT, AdmissionClassifier, recreate_hint
from webhook.scan.pod_tokens import legacy_references, tokens_of
from webhook.scan.policy_diff import change_between
from webhook.scan.rbac import AccountGrants
from webhook.scan.recreate import Automounts, pod_from_template, recreated_pod, replacement_pod
from webhook.scan.report import (
    CsiDriver,
    LegacySecret,
    ScannedWorkload,
    ScanReport,
    ServiceAccountResult,
    UnevaluatedPod,
)

_UNKNOWN = OwnerIdentity()
_has_results = attrgetter("has_results")
_Group = tuple[str, tuple[PodToken, ...], PodEvaluation, PodEvaluation | None, Change]


class Scanner:
    """One scan of a cluster."""

    def __init__(self, options: ScanOptions, snapshot: ClusterSnapshot) -> None:
        self._options = options
        self._snapshot = snapshot
        self._cluster = snapshot.cluster()
        self._evaluator = self._evaluator_of(options.policy)
        self._simulated = self._evaluator_of(options.simulated) if options.simulated else None
        self._namespaces = Globs(options.filters.namespaces)
        self._owners = OwnerIndex()
        self._groups: dict[OwnerKey, dict[_Group, list[str]]] = {}
        self._next_pods: dict[OwnerKey, PodGroup] = {}
        self._identities: dict[OwnerKey, OwnerIdentity] = {}
        self._image_pulls = ImagePulls(snapshot)
        self._finished_pods = 0
        self._admissions = AdmissionClassifier(
            options.policy,
            snapshot.history,
            {secret.key: secret.metadata.creation_timestamp for secret in snapshot.secrets},
            snapshot.namespaces,
        )
        self._unevaluated: list[UnevaluatedPod] = []

    @property
    def custom_kinds(self) -> Mapping[tuple[str, str], str]:
        """The `workloads` of both policies, each with the JSON Pointer of its pod template."""
        simulated = self._options.simulated
        return {**(simulated.workloads if simulated else {}), **self._options.policy.workloads}

    def add_workload(
        self,
        owner: OwnerKey,
        controller: OwnerReference | None,
        revision: TemplateRevision,
        *,
        creates_pods: bool,
        identity: OwnerIdentity = _UNKNOWN,
    ) -> None:
        """Add a workload.

        `creates_pods` says that its pods name it as their controller (those of a Deployment name its ReplicaSet).
        """
        namespace = owner.namespace
        if self._is_selected(namespace) and self._owners.add(owner, controller, revision if creates_pods else None):
            self._identities[owner] = identity
            self._image_pulls.add(owner, revision.template)
            context = self._evaluator.view(namespace, revision.template)
            pod = pod_from_template(revision.template, self._automounts(namespace))
            self._next_pods[owner] = PodGroup(
                (), context.account, tokens_of(context), *self._evaluations(namespace, pod)
            )

    def add_pod(self, pod: LivePod) -> None:
        """Add a pod. A finished one is only counted: it has no tokens and is not created again."""
        meta = pod.metadata
        namespace, name = meta.namespace or "", meta.name or ""
        if not self._is_selected(namespace):
            return
        if pod.finished:
            self._finished_pods += 1
            return
        owner, revision = self._owners.find(namespace, name, meta.controller)
        self._identities.setdefault(owner, _identity(pod, owner))
        self._image_pulls.add(owner, pod, [name])
        context = self._evaluator.view(namespace, pod)
        recreated: Pod
        if is_mirror(pod):
            recreated = pod
        elif revision and not revision.created(pod):
            recreated = replacement_pod(pod, revision.template, self._automounts(namespace))
        else:
            recreated = recreated_pod(context, revision and revision.template, self._automounts(namespace))
        group = (context.account, tokens_of(context), *self._evaluations(namespace, recreated))
        self._groups.setdefault(owner, {}).setdefault(group, []).append(name)
        is_unevaluated = self._snapshot.history.is_installed and not is_mirror(pod)
        if is_unevaluated and (violations := self._evaluator.violations(namespace, pod, pod.created)):
            self._add_unevaluated(pod, owner, context, violations, group[2].result)

    def _add_unevaluated(
        self,
        pod: LivePod,
        owner: OwnerKey,
        context: PodContext,
        findings: tuple[ReportedFinding, ...],
        recreated: EvaluationResult,
    ) -> None:
        meta = pod.metadata
        references = frozenset(name for _, name in legacy_references(context))
        denied_by = next((finding.rule for finding in recreated.findings if finding.action is Action.REJECT), "")
        admission = self._admissions.classify(pod, context.account, findings, references)
        hint = recreate_hint(owner, meta.name or "", denied_by)
        if self._snapshot.history.webhook_exists is False:
            hint = RESTORE_HINT + hint
        elif self._snapshot.history.lacks_ca_bundle:
            hint = REPAIR_HINT
        self._unevaluated.append(
            UnevaluatedPod(
                namespace=owner.namespace,
                name=meta.name or "",
                uid=meta.uid or "",
                created=pod.created,
                owner=object_title(*owner[1:]),
                admission=admission,
                findings=findings,
                next_denied_by=denied_by,
                hint=INCLUDE_HINT if admission is Admission.EXCLUDED else hint,
            )
        )

    def report(self) -> ScanReport:
        """Return the report."""
        options, snapshot, audiences = self._options, self._snapshot, self._snapshot.api_audiences
        workloads = tuple(
            sorted(
                self._workloads(),
                key=lambda workload: (workload.namespace, workload.kind, workload.name, workload.group),
            )
        )
        secrets = tuple(sorted(self._legacy_secrets(workloads), key=lambda secret: (secret.namespace, secret.name)))
        accounts = sorted(filter(_has_results, self._accounts()), key=lambda account: (account.namespace, account.name))
        drivers = sorted(filter(_has_results, self._csi_drivers()), key=lambda driver: driver.name)
        results, simulated = aggregate.counted_results(workloads, secrets, accounts, drivers)
        other = options.simulated
        simulates = other is not None
        namespaces = set(filter(self._is_selected, snapshot.namespaces))
        namespaces |= {workload.namespace for workload in workloads} | {secret.namespace for secret in secrets}
        summary = aggregate.summarize(
            len(namespaces), self._finished_pods, workloads, secrets if snapshot.secrets_read else None,
            results=(results, simulated if simulates else None),
        )  # fmt: skip
        labels = {name: self._cluster.namespace_labels(name) for name in sorted(namespaces) if self._is_evaluated(name)}
        shown = FindingFilter(options.filters)
        counts = aggregate.rule_counts(results, simulated if simulates else None)
        return ScanReport(
            time=options.now,
            cluster=options.cluster,
            context=options.context,
            policy=describe_policy(options.policy, options.policy_origin, audiences, labels),
            simulated=describe_policy(other, options.simulated_origin, audiences, labels) if other else None,
            filters=options.filters,
            webhook_exists=snapshot.history.webhook_exists,
            webhook_lacks_ca_bundle=snapshot.history.lacks_ca_bundle,
            excluded_namespaces=tuple(sorted(filter(self._is_excluded, namespaces))),
            summary=summary,
            rule_counts=tuple(filter(shown.shows, counts)),
            workloads=tuple(map(shown.workload, workloads)),
            accounts=tuple(filter(_has_results, map(shown.evaluated, accounts))),
            csi_drivers=tuple(filter(_has_results, map(shown.evaluated, drivers))),
            unevaluated_pods=tuple(filter(None, map(shown.unevaluated, self._sorted_unevaluated()))),
            legacy_secrets=tuple(map(shown.evaluated, secrets)),
            tracked_since=snapshot.tracked_since,
            unused_days=options.unused_days,
            tokens=aggregate.token_uses(workloads, simulates=simulates),
            accounts_with_tokens=aggregate.accounts_with_tokens(workloads, secrets, snapshot.grants_of),
            exemptions=self._exemption_usage(options.policy, results),
            simulated_exemptions=self._exemption_usage(other, simulated) if other else None,
            unread=tuple(snapshot.unread),
            exit_status=exit_status(summary, snapshot.unread),
        )

    def _evaluator_of(self, policy: Policy) -> PolicyEvaluator:
        return PolicyEvaluator(policy, self._cluster, self._options.now, self._snapshot.history.scopes)

    def _is_selected(self, namespace: str) -> bool:
        return not self._namespaces or self._namespaces.match(namespace)

    def _is_excluded(self, namespace: str) -> bool:
        """Return whether the webhook configuration excludes the pods of a namespace, and nothing else does."""
        scope, labels = self._snapshot.history.scopes.pods, self._cluster.namespace_labels(namespace)
        return not self._is_own(namespace) and scope.excludes(namespace, labels)

    def _is_evaluated(self, namespace: str) -> bool:
        """Return whether pods of a namespace are evaluated."""
        return not (self._is_own(namespace) or self._is_excluded(namespace))

    def _is_own(self, namespace: str) -> bool:
        """Return whether no installation evaluates the pods of a namespace."""
        return namespace in {SYSTEM_NAMESPACE, self._cluster.own_namespace}

    def _automounts(self, namespace: str) -> Automounts:
        return lambda account: self._cluster.automounts.get((namespace, account), True)

    def _evaluations(self, namespace: str, pod: Pod) -> tuple[PodEvaluation, PodEvaluation | None, Change]:
        evaluation = self._evaluator.pod(namespace, pod)
        if self._simulated is None:
            return evaluation, None, Change.UNCHANGED
        simulated = self._simulated.pod(namespace, pod)
        tokens = evaluation.tokens, simulated.tokens
        return evaluation, simulated, change_between(evaluation.result, simulated.result, tokens)

    def _sorted_unevaluated(self) -> list[UnevaluatedPod]:
        return sorted(self._unevaluated, key=lambda pod: (pod.namespace, pod.owner, pod.name))

    def _workloads(self) -> Iterator[ScannedWorkload]:
        for owner in {**self._next_pods, **self._groups}:
            groups = self._groups.get(owner, {}).items()
            pods = [PodGroup(tuple(sorted(names)), *group) for group, names in groups]
            pods.sort(key=lambda group: group.names)
            next_pod = self._next_pods.get(owner)
            accounts = tuple(self._accounts_of(owner.namespace, [*pods, *([next_pod] if next_pod else [])]))
            yield ScannedWorkload.of(owner, tuple(pods), next_pod, accounts, self._identities[owner])

    def _accounts_of(self, namespace: str, groups: list[PodGroup]) -> Iterator[AccountGrants]:
        """Yield the accounts of pods and then those of the legacy tokens that they name."""
        legacy = self._cluster.legacy_tokens.get(namespace, {})
        own = [group.account for group in groups]
        named = [legacy.get(token.secret, "") for group in groups for token in group.tokens if token.secret]
        for name in dict.fromkeys(filter(None, [*own, *named])):
            yield AccountGrants(name, name in own, self._snapshot.grants_of(namespace, name))

    def _legacy_secrets(self, workloads: tuple[ScannedWorkload, ...]) -> Iterator[LegacySecret]:
        options, snapshot = self._options, self._snapshot
        analyzer = LegacySecretAnalyzer(
            references(workloads), self._image_pulls.references(), snapshot, options.now, options.unused_days
        )
        for secrets, is_copy in ((snapshot.secrets, False), (snapshot.used_copies, True)):
            for secret in secrets:
                if self._is_selected(secret.metadata.namespace or ""):
                    legacy = analyzer.analyze(secret, is_copy=is_copy)
                    yield self._evaluated(legacy, secret) if legacy.in_use else legacy

    def _evaluated(self, legacy: LegacySecret, secret: LegacyTokenSecret) -> LegacySecret:
        recreated = recreated_secret(secret, is_copy=legacy.is_copy)
        results = self._results(Subject.SECRET, secret.metadata, recreated)
        return replace(legacy, **dict(zip(("result", "simulated", "change"), results, strict=True)))

    def _accounts(self) -> Iterator[ServiceAccountResult]:
        for account in self._snapshot.accounts:
            namespace, name = account.metadata.namespace or "", account.metadata.name or ""
            if self._is_selected(namespace):
                results = self._results(Subject.SERVICE_ACCOUNT, account.metadata, account)
                yield ServiceAccountResult(name, *results, namespace, account.metadata.uid or "")

    def _csi_drivers(self) -> Iterator[CsiDriver]:
        """Yield the CSI drivers; none if namespaces are selected, as they belong to none."""
        for driver in () if self._options.filters.namespaces else self._snapshot.csi_drivers:
            results = self._results(Subject.CSI_DRIVER, driver.metadata, driver)
            yield CsiDriver(driver.metadata.name or "", *results, driver.metadata.uid or "")

    def _results(
        self, subject: Subject, meta: ObjectIdentity, obj: NonPod
    ) -> tuple[EvaluationResult, EvaluationResult | None, Change]:
        result = self._evaluator.evaluate(subject, meta, obj)
        simulated = self._simulated.evaluate(subject, meta, obj) if self._simulated else None
        return result, simulated, change_between(result, simulated)

    def _exemption_usage(self, policy: Policy, results: list[CountedResult]) -> tuple[ExemptionUsage, ...]:
        snapshot = self._snapshot
        complete = not any(unread.affects_decisions for unread in snapshot.unread)
        known = snapshot.namespaces if snapshot.all_namespaces else ()
        coverage = ScanCoverage(known, self._namespaces, complete)
        return ExemptionUsageCounter(policy.exemptions, self._options.now, coverage).count(results)


def _identity(pod: LivePod, owner: OwnerKey) -> OwnerIdentity:
    """Return the identity of a pod's direct owner, or the pod's own if it has none."""
    controller = pod.metadata.controller
    if controller is None:
        return OwnerIdentity("v1", pod.metadata.uid or "")
    if controller.name != owner.name:
        return _UNKNOWN
    return OwnerIdentity(controller.api_version or "", controller.uid or "")
