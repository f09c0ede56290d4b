"""The one place that decides, for the webhook, for `check` and for `scan`."""

import datetime as dt
from collections.abc import Iterator

from msgspec.structs import replace

from webhook.core.admission_request import AdmissionRequest, Phase
from webhook.core.cluster_state import ClusterState
from webhook.core.decision import Coverage, Decision, Finding, Outcome, Violation
from webhook.core.json_patch import Edit, assemble, below
from webhook.core.k8s_types import AnyWorkload, CustomWorkload, OwnerReference, PodTemplate
from webhook.core.kinds import CLUSTER_SCOPED, KINDS, TOKEN_GRANTING, WARN_ONLY, Subject
from webhook.core.pod_context import PodContext, build_pod_context
from webhook.core.policy import configmap_admission
from webhook.core.policy.configmap import ConfigMap
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import Action, Mode, NamespacePolicy, Policy
from webhook.core.rule import Check
from webhook.core.rules import RULES
from webhook.core.token_context import TokenContext, build_token_context

SYSTEM_NAMESPACE, OWN_NAMESPACE = "kube-system", "tokenguard"
NODES, NODE_USER = "system:nodes", "system:node:"
"""The group and the beginning of the user name of every kubelet: only both together are one's identity."""
TOKEN_CONTROLLER = "system:kube-controller-manager"  # noqa: S105 - the user that fills Secrets with tokens
_MIRROR = "kubernetes.io/config.mirror"
_KUBE_SYSTEM_ACCOUNT = "system:serviceaccount:kube-system:"
_PATCH, _REJECT, _WARN, _AUDIT = Action.PATCH, Action.REJECT, Action.WARN, Action.AUDIT
_MUTATE, _VALIDATE = Phase.MUTATE, Phase.VALIDATE
_POD, _POLICY, _SECRET, _TOKEN_REQUEST = Subject.POD, Subject.POLICY, Subject.SECRET, Subject.TOKEN_REQUEST
_TEMPLATE = Subject.TEMPLATE
_AUDIT_MODE, _WARN_MODE = Mode.AUDIT, Mode.WARN
_DID_NOT_RUN = "the mutating webhook did not run: check MutatingWebhookConfiguration/tokenguard and the pods behind it"

MAX_FINDINGS = 1000
"""The largest number of findings of one rule in one object, so that an object that breaks a rule a hundred thousand
times makes neither a large decision nor a large patch. A pod of which so many are patched is denied for the rest."""

Context = PodContext | TokenContext


def evaluate(request: AdmissionRequest, policy: Policy, cluster: ClusterState, now: dt.datetime) -> Decision:
    """Return what is done about one request under a policy, in a cluster, at a time (aware, any zone).

    Pure: the same arguments give the same decision, and nothing else happens.
    """
    settled = policy_independent_decision(request)
    if settled is not None:
        return replace(settled, policy=policy.revision)
    if request.subject is None or request.problem:
        return _unreadable(request, policy, cluster)
    namespace_policy = _policy_for(request, policy, cluster)
    context, account = _view(request, policy, namespace_policy, cluster)
    if context is None:
        return Decision(
            Outcome.ALLOWED, policy=policy.revision, mode=namespace_policy.mode, note="no rule applies to it"
        )
    findings: list[Finding] = []
    exempted: list[tuple[Finding, Exemption]] = []
    for rule, check, intended, may_be_exempt in _active(namespace_policy, request.subject, policy):
        max_findings, max_exempted = len(findings) + MAX_FINDINGS, len(exempted) + MAX_FINDINGS
        for violation in check(context):
            finding = _decide(rule, intended, violation, request, namespace_policy.mode)
            if finding is None:
                continue
            exemption = _exemption(policy, finding, account, request, now) if may_be_exempt else None
            if exemption is None:
                findings.append(finding)
                if len(findings) == max_findings:
                    break
            elif len(exempted) < max_exempted:  # the others are looked at, too: exempted ones hide none that isn't
                exempted.append((finding, exemption))
    return _concluded(request, policy, namespace_policy.mode, tuple(findings), tuple(exempted))


def policy_independent_decision(request: AdmissionRequest) -> Decision | None:
    """Return the decision where it is the same under every policy, and so under none, or None where it isn't.

    So it is about what no rule looks at, about what is the cluster's own business, and about a policy's ConfigMap.
    """
    subject, found = request.subject, request.object
    if subject is None:
        asked = f"{request.operation} of {request.resource}"
        return None if request.problem else _not_evaluated(f"no rule applies to {asked}")
    if request.phase is _MUTATE and subject is not _POD:
        return _not_evaluated(f"{request.resource}: evaluated in /validate")
    if subject is _POLICY:
        return _policy_document(request)
    machinery = _machinery(request)
    if machinery is not None:
        return Decision(Outcome.ALLOWED, note=machinery, coverage=Coverage.LEFT_ALONE)
    if isinstance(found, CustomWorkload) and found.given_template is None:
        return _not_evaluated(f"it has no pod template at {found.at}")  # a Rollout may refer to a Deployment
    return None


def _policy_document(request: AdmissionRequest) -> Decision:
    old = request.old_object if isinstance(request.old_object, ConfigMap) else None
    if isinstance(request.object, ConfigMap):
        return configmap_admission.decide(request.object, old, request.namespace)
    return Decision(Outcome.DENIED, problem=request.problem)


def _not_evaluated(note: str) -> Decision:
    return Decision(Outcome.ALLOWED, note=note, coverage=Coverage.NOT_EVALUATED)


def _policy_for(request: AdmissionRequest, policy: Policy, cluster: ClusterState) -> NamespacePolicy:
    if request.subject in CLUSTER_SCOPED:
        return policy.in_cluster()
    return policy.in_namespace(request.namespace, cluster.namespace_labels(request.namespace))


def _machinery(request: AdmissionRequest) -> str | None:
    """Return why a request is the cluster's own business, or None where it isn't."""
    if request.namespace == SYSTEM_NAMESPACE:
        return f"namespace {request.namespace} is left alone"
    if request.namespace == OWN_NAMESPACE and request.subject not in TOKEN_GRANTING:
        return f"namespace {request.namespace} is left alone, but for new tokens in it"
    return _component(request)


def _component(request: AdmissionRequest) -> str | None:
    """Return what a request by a component of Kubernetes is for, or None where it is another one."""
    user, subject = request.user, request.subject
    if user.startswith(NODE_USER):
        return _node(request) if NODES in request.groups else None
    if subject is _TOKEN_REQUEST and user.startswith(_KUBE_SYSTEM_ACCOUNT):
        return "a ServiceAccount of kube-system requests a token"
    if subject is _SECRET and user == TOKEN_CONTROLLER and request.operation == "UPDATE":
        return "the token controller updates a Secret"
    return None


def _node(request: AdmissionRequest) -> str | None:
    """Return what a request by a kubelet is for, or None where it is evaluated."""
    if request.subject is _TOKEN_REQUEST:
        return "the kubelet requests a pod's token"
    found = request.object
    if request.subject is _POD and isinstance(found, PodTemplate) and _MIRROR in (found.metadata.annotations or ()):
        return "a mirror pod, created by the kubelet"
    return None


def _unreadable(request: AdmissionRequest, policy: Policy, cluster: ClusterState) -> Decision:
    """Decide about what can't be evaluated: it is not let through where the policy enforces."""
    mode = policy.strictest_mode if request.subject is None else _policy_for(request, policy, cluster).mode
    outcome = Outcome.ALLOWED
    if request.subject not in WARN_ONLY and mode is Mode.ENFORCE:
        outcome = Outcome.DENIED
    elif mode is not Mode.AUDIT:
        outcome = Outcome.WARNED
    return Decision(outcome, policy=policy.revision, mode=mode, problem=request.problem)


def _view(
    request: AdmissionRequest, policy: Policy, namespace_policy: NamespacePolicy, cluster: ClusterState
) -> tuple[Context | None, str]:
    """Return what the rules look at, and the account that it is about."""
    found = request.object
    if isinstance(found, PodTemplate):
        context = build_pod_context(request, found, namespace_policy, policy, cluster)
        return context, context.account
    if isinstance(found, AnyWorkload):
        if request.phase is not Phase.CHECK and _is_advised_of(found.metadata.controller):
            return None, ""  # its author has been told already
        context = build_pod_context(request, found.template, namespace_policy, policy, cluster)
        return context, context.account
    return build_token_context(request, namespace_policy, policy, cluster)


def _is_advised_of(owner: OwnerReference | None) -> bool:
    """Say whether an owner is of a kind whose template is judged. Of others, such as a custom one, nobody was told."""
    if owner is None:
        return False
    kind = KINDS.get(((owner.api_version or "").partition("/")[0], owner.kind or ""))
    return kind is not None and kind.subject is Subject.TEMPLATE


def _active(
    namespace_policy: NamespacePolicy, subject: Subject, policy: Policy
) -> tuple[tuple[str, Check, Action, bool], ...]:
    """Return the rules that look at a subject and are not off, remembered for the namespace.

    Each has its name, its check, its action, and whether any exemption is from it.
    """
    active = namespace_policy.active.get(subject)
    if active is None:
        active = namespace_policy.active[subject] = tuple(
            (
                rule.name,
                rule.check_for(subject),
                _intended(namespace_policy.rules[rule.name], subject),
                rule.name in policy.exemption_index,
            )
            for rule in RULES
            if subject in rule.subjects and namespace_policy.rules[rule.name] is not Action.OFF
        )
    return active


def _intended(action: Action, subject: Subject) -> Action:
    """Return the action for a subject: ServiceAccounts and CSIDrivers are at most warned about."""
    only_warned = subject in (Subject.SERVICE_ACCOUNT, Subject.CSI_DRIVER)
    return _WARN if only_warned and action in (_PATCH, _REJECT) else action


def _decide(rule: str, intended: Action, found: Violation, request: AdmissionRequest, mode: Mode) -> Finding | None:
    """Return what is done about a violation in this phase, or None where that is left to the other one."""
    if found.warn_only and intended in (_PATCH, _REJECT):
        intended = _WARN
    if (found.api_server_own or not found.authored) and found.edits and intended is _REJECT:
        intended = _PATCH  # the API server's own token is patched, whether Kubernetes or the author projects it
    phase = request.phase
    repairs = intended is _PATCH and bool(found.edits)
    action = intended
    if mode is _AUDIT_MODE or intended is _AUDIT:
        action = _AUDIT
    elif mode is _WARN_MODE or intended is _WARN or (request.subject is _TEMPLATE and phase is _VALIDATE):
        action = _WARN if found.authored else _AUDIT
    elif repairs and phase is not _VALIDATE:
        action = _PATCH
    else:
        action = _REJECT
    if phase is _MUTATE and action is not _PATCH:
        return None
    if repairs and action is _REJECT and not found.authored:
        found = replace(found, hint=_DID_NOT_RUN)
        intended = _REJECT
    return Finding(rule, action, intended, found)


def _exemption(
    policy: Policy, finding: Finding, account: str, request: AdmissionRequest, now: dt.datetime
) -> Exemption | None:
    """Return the exemption that covers a finding about an object of this account, if there is one."""
    other = finding.violation.other_account
    accounts = (account,) if other is None else (account, other)
    return policy.exemption_index.find(finding.rule, request.namespace, accounts, request.user, now)


def _concluded(
    request: AdmissionRequest,
    policy: Policy,
    mode: Mode,
    findings: tuple[Finding, ...],
    exempted: tuple[tuple[Finding, Exemption], ...],
) -> Decision:
    if not findings:
        return Decision(Outcome.ALLOWED, exempted=exempted, policy=policy.revision, mode=mode)
    outcome = Outcome.ALLOWED
    edits: list[Edit] = []
    at = request.template_pointer
    for finding in findings:
        action = finding.action
        if action is _REJECT:
            outcome = Outcome.DENIED
        elif action is _PATCH:
            fix = finding.violation.edits
            edits.extend(below(at, fix) if at else fix)
        elif action is _WARN and outcome is Outcome.ALLOWED:
            outcome = Outcome.WARNED
    if edits and outcome is not Outcome.DENIED:
        outcome = Outcome.PATCHED
    patch = assemble(edits) if edits else ()
    if at:
        findings = tuple(_within_template(at, findings))
    return Decision(outcome, findings, patch, exempted, policy.revision, mode)


def _within_template(at: str, findings: tuple[Finding, ...]) -> Iterator[Finding]:
    for finding in findings:
        yield replace(finding, violation=replace(finding.violation, pointer=at + finding.violation.pointer))
