"""Evaluates the objects of a cluster as if they were created again, with the same function as the webhook."""

import datetime as dt
from collections.abc import Mapping

from msgspec.structs import replace

from webhook.core.admission_request import AdmissionRequest, Phase
from webhook.core.cluster_state import ClusterState
from webhook.core.decision import Coverage, Decision, Finding, Outcome
from webhook.core.evaluate import evaluate
from webhook.core.exclusions import NODE_USER, NODES
from webhook.core.k8s_types import ObjectIdentity, Pod
from webhook.core.kinds import Subject
from webhook.core.pod_context import PodContext, build_pod_context
from webhook.core.policy.model import Mode, Policy
from webhook.core.token_objects import CSIDriver, Secret, ServiceAccount
from webhook.core.webhook_namespaces import WebhookScopes
from webhook.scan.evaluation_result import AppliedExemption, EvaluationResult, PodEvaluation, ReportedFinding
from webhook.scan.pod_tokens import tokens_after

_MIRROR = "kubernetes.io/config.mirror"
NonPod = Secret | ServiceAccount | CSIDriver


class PolicyEvaluator:
    """One policy in one cluster at one time; what is outside the `scopes` is not evaluated."""

    def __init__(self, policy: Policy, cluster: ClusterState, now: dt.datetime, scopes: WebhookScopes) -> None:
        self.policy = policy
        self._scopes = scopes
        self._enforcing = policy.with_mode(Mode.ENFORCE)
        self._unlowered = self._enforcing.without_lowered_rules()
        self._cluster = cluster
        self._now = now
        self._numbers = {id(exemption): number for number, exemption in enumerate(policy.exemptions)}

    def view(self, namespace: str, pod: Pod) -> PodContext:
        """Return a pod with the policy of its namespace."""
        namespace_policy = self.policy.in_namespace(namespace, self._cluster.namespace_labels(namespace))
        return build_pod_context(_pod_request(namespace, pod), pod, namespace_policy, self.policy, self._cluster)

    def pod(self, namespace: str, pod: Pod) -> PodEvaluation:
        """Evaluate a pod."""
        request = _pod_request(namespace, pod)
        decision = self._evaluate(request)
        context = self.view(namespace, pod)
        result = self._result(request, decision)
        tokens = () if decision.outcome is Outcome.DENIED else tokens_after(context, decision)
        return PodEvaluation(result, tokens)

    def violations(self, namespace: str, pod: Pod, created: dt.datetime | None) -> tuple[ReportedFinding, ...]:
        """Return what denies a live pod in `/validate` as it is, with the exemptions of when it was created."""
        request = replace(_pod_request(namespace, pod), phase=Phase.VALIDATE)
        decision = evaluate(request, self.policy, self._cluster, created or self._now)
        return tuple(_reported(finding, finding.violation.detail) for finding in decision.rejections())

    def evaluate(self, subject: Subject, meta: ObjectIdentity, obj: NonPod) -> EvaluationResult:
        """Evaluate another object."""
        request = _request(subject, meta.namespace or "", meta.name or "", obj)
        return self._result(request, self._evaluate(request))

    def _evaluate(self, request: AdmissionRequest) -> Decision:
        decision = evaluate(request, self.policy, self._cluster, self._now)
        namespace, scope = request.namespace, self._scopes.of(request.subject)
        is_excluded = scope.excludes(namespace, self._cluster.namespace_labels(namespace))
        if decision.coverage is Coverage.EVALUATED and is_excluded:
            note = f"namespace {namespace} is excluded by the webhook configuration"
            return Decision(Outcome.ALLOWED, note=note, coverage=Coverage.EXCLUDED)
        return decision

    def _result(self, request: AdmissionRequest, decision: Decision) -> EvaluationResult:
        result = _result(decision, self._numbers)
        if decision.mode is None:
            return result
        if decision.mode is not Mode.ENFORCE:
            result = replace(result, enforced=self._outcome(request, self._enforcing))
        if request.namespace and self._is_lowered(request.namespace):
            result = replace(result, unlowered=self._outcome(request, self._unlowered))
        return result

    def _outcome(self, request: AdmissionRequest, policy: Policy) -> Outcome:
        return evaluate(request, policy, self._cluster, self._now).outcome

    def _is_lowered(self, namespace: str) -> bool:
        """Return whether an override lowers a rule in a namespace."""
        labels = self._cluster.namespace_labels(namespace)
        rules = (policy.in_namespace(namespace, labels).rules for policy in (self.policy, self._unlowered))
        return next(rules) != next(rules)


def is_mirror(pod: Pod) -> bool:
    """Return whether a pod mirrors a static pod of its node."""
    owner = pod.metadata.controller
    return owner is not None and owner.kind == "Node" and _MIRROR in (pod.metadata.annotations or ())


def _result(decision: Decision, numbers: Mapping[int, int]) -> EvaluationResult:
    findings = tuple(_reported(finding, finding.detail) for finding in decision.findings)
    exemptions = tuple(
        AppliedExemption(
            finding.rule,
            finding.path,
            finding.violation.detail,
            finding.violation.authored,
            numbers[id(exemption)],
            exemption.reason,
            exemption.until,
            finding.violation.other_account,
        )
        for finding, exemption in decision.exempted
    )
    return EvaluationResult(decision.outcome, findings, exemptions, decision.note)


def _reported(finding: Finding, detail: str) -> ReportedFinding:
    violation = finding.violation
    return ReportedFinding(
        finding.rule,
        finding.action,
        finding.intended,
        finding.path,
        detail,
        violation.authored,
        violation.other_account,
    )


def _pod_request(namespace: str, pod: Pod) -> AdmissionRequest:
    request = _request(Subject.POD, namespace, pod.metadata.name or "", pod)
    return replace(request, user=NODE_USER, groups=(NODES,)) if is_mirror(pod) else request


def _request(subject: Subject, namespace: str, name: str, obj: Pod | NonPod) -> AdmissionRequest:
    return AdmissionRequest(
        phase=Phase.CHECK,
        uid="",
        operation="CREATE",
        resource=subject,
        namespace=namespace,
        name=name,
        subject=subject,
        object=obj,
    )
