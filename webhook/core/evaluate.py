"""Evaluates a request, for the webhook, `check` and `scan` alike."""

import datetime as dt

from msgspec.structs import replace

from webhook.core.admission_request import AdmissionRequest, Phase
from webhook.core.cluster_state import ClusterState
from webhook.core.decision import BAD_REQUEST, Coverage, Decision, Finding, Outcome, Violation
from webhook.core.exclusions import exclusion_reason
from webhook.core.json_patch import Edit, Remove, assemble, is_inside, prefix_edits
from webhook.core.k8s_types import AnyWorkload, CustomWorkload, OwnerReference, Pod
from webhook.core.kinds import CLUSTER_SCOPED, KINDS, WARN_ONLY, Subject
from webhook.core.pod_context import PodContext, build_pod_context
from webhook.core.policy import configmap_admission
from webhook.core.policy.configmap import PolicyConfigMap
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import Action, Mode, NamespacePolicy, Policy
from webhook.core.rule import Check
from webhook.core.rules import RULES
from webhook.core.token_context import TokenContext, build_token_context

_PATCH, _REJECT, _WARN, _AUDIT = Action.PATCH, Action.REJECT, Action.WARN, Action.AUDIT
_MUTATE, _VALIDATE = Phase.MUTATE, Phase.VALIDATE
_POD, _POLICY, _SECRET, _TOKEN_REQUEST = Subject.POD, Subject.POLICY, Subject.SECRET, Subject.TOKEN_REQUEST
_TEMPLATE = Subject.TEMPLATE
_ENFORCE_MODE, _AUDIT_MODE, _WARN_MODE = Mode.ENFORCE, Mode.AUDIT, Mode.WARN
_DID_NOT_RUN = "the mutating webhook did not run: check MutatingWebhookConfiguration/tokenguard and the pods behind it"

MAX_FINDINGS = 1000
"""The largest number of findings of one rule in one object, so that an object with a hundred thousand of them
causes neither a large decision nor a large patch. A pod of which so many are patched is denied for the rest."""

Context = PodContext | TokenContext


def evaluate(request: AdmissionRequest, policy: Policy, cluster: ClusterState, now: dt.datetime) -> Decision:
    """Return the decision about a request under a policy, in a cluster, at a time (aware, any zone).

    Pure: the same arguments give the same decision, and nothing else happens.
    """
    independent = policy_independent_decision(request, cluster.own_namespace, now)
    if independent is not None:
        return replace(independent, policy=policy.revision)
    subject = request.subject
    if subject is None or request.problem:
        return _unreadable_object_decision(request, policy, cluster)
    namespace_policy = _policy_for(request, policy, cluster)
    mode = namespace_policy.mode
    context, account = _build_context(request, policy, namespace_policy, cluster)
    if context is None:
        return Decision(Outcome.ALLOWED, policy=policy.revision, mode=mode, note="no rule applies to it")
    findings: list[Finding] = []
    exempted: list[tuple[Finding, Exemption]] = []
    for rule, check, intended, may_be_exempt in _active_rules(namespace_policy, subject, policy):
        max_findings, max_exempted = len(findings) + MAX_FINDINGS, len(exempted) + MAX_FINDINGS
        for violation in check(context):
            finding = build_finding(rule, intended, violation, request, mode)
            if finding is None:
                continue
            exemption = _find_exemption(policy, finding, account, request, now) if may_be_exempt else None
            if exemption is None:
                findings.append(finding)
                if len(findings) == max_findings:
                    break
            elif len(exempted) < max_exempted:  # go on: a later violation may not be exempt
                exempted.append((finding, exemption))
    return _build_decision(request, policy, mode, _without_superseded(findings), tuple(exempted))


def allow_unpatched(decision: Decision) -> Decision:
    """Return a decision that only records what nobody wrote and the mutating webhook would have patched.

    Where the webhooks fail open, that webhook may have failed for a pod, and the validating one not.
    """
    if decision.outcome is not Outcome.DENIED:
        return decision
    findings = tuple([
        replace(finding, action=_AUDIT) if is_unpatched(finding) else finding
        for finding in decision.findings
    ])  # fmt: skip
    actions = {finding.action for finding in findings}
    if not findings or _REJECT in actions:
        return decision
    return replace(decision, outcome=Outcome.WARNED if _WARN in actions else Outcome.ALLOWED, findings=findings)


def is_unpatched(finding: Finding) -> bool:
    """Return whether the mutating webhook should have patched this: nobody wrote it, so nothing else rejects it."""
    return finding.action is _REJECT and bool(finding.violation.edits) and not finding.violation.authored


def policy_independent_decision(request: AdmissionRequest, own_namespace: str, now: dt.datetime) -> Decision | None:
    """Return the decision if it is the same under every policy, and so without one; None if it depends on the policy.

    It is about objects to which no rule applies, requests of Kubernetes itself, and a policy's own ConfigMap.
    `own_namespace` is the namespace that tokenguard is installed in, `now` is aware.
    """
    subject, obj = request.subject, request.object
    if subject is None:
        note = f"no rule applies to {request.operation} of {request.resource}"
        return None if request.problem else _not_evaluated(note)
    if request.phase is _MUTATE and subject is not _POD:
        return _not_evaluated(f"{request.resource}: evaluated in /validate")
    if subject is _POLICY:
        return _policy_document_decision(request, own_namespace, now)
    reason = exclusion_reason(request, own_namespace)
    if reason is not None:
        return Decision(Outcome.ALLOWED, note=reason, coverage=Coverage.EXCLUDED)
    if isinstance(obj, CustomWorkload) and obj.given_template is None:
        # an Argo Rollout may refer to a Deployment instead
        return _not_evaluated(f"it has no pod template at {obj.template_pointer}")
    return None


def _policy_document_decision(request: AdmissionRequest, own_namespace: str, now: dt.datetime) -> Decision:
    if not isinstance(request.object, PolicyConfigMap):
        return Decision(
            Outcome.DENIED, problem=request.problem, problem_field=request.problem_field, status=BAD_REQUEST
        )
    old = request.old_object if isinstance(request.old_object, PolicyConfigMap) else None
    return configmap_admission.decide(request.object, old, now, in_own_namespace=request.namespace == own_namespace)


def _not_evaluated(note: str) -> Decision:
    return Decision(Outcome.ALLOWED, note=note, coverage=Coverage.NOT_EVALUATED)


def _policy_for(request: AdmissionRequest, policy: Policy, cluster: ClusterState) -> NamespacePolicy:
    if request.subject in CLUSTER_SCOPED:
        return policy.in_cluster()
    return policy.in_namespace(request.namespace, cluster.namespace_labels(request.namespace))


def _unreadable_object_decision(request: AdmissionRequest, policy: Policy, cluster: ClusterState) -> Decision:
    """Return the decision about an object that can't be evaluated: denied if the policy enforces."""
    mode = policy.strictest_mode if request.subject is None else _policy_for(request, policy, cluster).mode
    outcome = Outcome.ALLOWED
    if request.subject not in WARN_ONLY and mode is Mode.ENFORCE:
        outcome = Outcome.DENIED
    elif mode is not _AUDIT_MODE:
        outcome = Outcome.WARNED
    return Decision(
        outcome,
        policy=policy.revision,
        mode=mode,
        problem=request.problem,
        problem_field=request.problem_field,
        status=BAD_REQUEST,
        help=policy.help,
    )


def _build_context(
    request: AdmissionRequest, policy: Policy, namespace_policy: NamespacePolicy, cluster: ClusterState
) -> tuple[Context | None, str]:
    """Return the context of the request's object, None if no rule applies to it, and the account that it is about."""
    obj = request.object
    if isinstance(obj, Pod):
        pod = obj
    elif isinstance(obj, AnyWorkload):
        if request.phase is not Phase.CHECK and _is_evaluated_owner(obj.metadata.controller):
            return None, ""  # its author got the warnings already
        pod = obj.template
    else:
        return build_token_context(request, namespace_policy, policy, cluster)
    context = build_pod_context(request, pod, namespace_policy, policy, cluster)
    return context, context.account


def _is_evaluated_owner(owner: OwnerReference | None) -> bool:
    """Return whether an owner is of a kind whose pod template is evaluated, unlike a custom one's."""
    if owner is None:
        return False
    kind = KINDS.get(((owner.api_version or "").partition("/")[0], owner.kind or ""))
    return kind is not None and kind.subject is _TEMPLATE


def _active_rules(
    namespace_policy: NamespacePolicy, subject: Subject, policy: Policy
) -> tuple[tuple[str, Check, Action, bool], ...]:
    """Return the rules for a subject that are not off, cached in the namespace's policy.

    Each has its name, its check, its action, and whether any exemption is from it.
    """
    active = namespace_policy.active.get(subject)
    if active is None:
        active = namespace_policy.active[subject] = tuple(
            (
                rule.name,
                rule.check_for(subject),
                _intended_action(namespace_policy.rules[rule.name], subject),
                rule.name in policy.exemption_index,
            )
            for rule in RULES
            if subject in rule.subjects and namespace_policy.rules[rule.name] is not Action.OFF
        )
    return active


def _intended_action(action: Action, subject: Subject) -> Action:
    """Return the action for a subject: ServiceAccounts and CSIDrivers get warnings at most."""
    lowered_to_warn = subject in (Subject.SERVICE_ACCOUNT, Subject.CSI_DRIVER)
    return _WARN if lowered_to_warn and action in (_PATCH, _REJECT) else action


def build_finding(
    rule: str, intended: Action, violation: Violation, request: AdmissionRequest, mode: Mode
) -> Finding | None:
    """Return a violation with its action in this phase, or None if it is left to the other phase."""
    if violation.warn_only and intended in (_PATCH, _REJECT):
        intended = _WARN
    if (violation.is_api_token or not violation.authored) and violation.edits and intended is _REJECT:
        intended = _PATCH  # the API server token is patched, whether Kubernetes or the author projects it
    phase = request.phase
    repairs = intended is _PATCH and bool(violation.edits)
    if mode is _AUDIT_MODE or intended is _AUDIT:
        action = _AUDIT
    elif mode is _WARN_MODE or intended is _WARN or (request.subject is _TEMPLATE and phase is _VALIDATE):
        action = _WARN if violation.authored else _AUDIT
    elif repairs and phase is not _VALIDATE:
        action = _PATCH
    else:
        action = _REJECT
    if phase is _MUTATE and action is not _PATCH:
        return None
    if repairs and action is _REJECT and not violation.authored:
        violation = replace(violation, hint=_DID_NOT_RUN)
        intended = _REJECT
    applies_to_pods = mode is _ENFORCE_MODE and phase is _VALIDATE and request.subject is _TEMPLATE
    return Finding(rule, action, intended, violation, applies_to_pods)


def _find_exemption(
    policy: Policy, finding: Finding, account: str, request: AdmissionRequest, now: dt.datetime
) -> Exemption | None:
    """Return the exemption that covers a finding about an object of this account, if there is one."""
    other = finding.violation.other_account
    accounts = (account,) if other is None else (account, other)
    return policy.exemption_index.find(finding.rule, request.namespace, accounts, request.user, now)


def _without_superseded(findings: list[Finding]) -> tuple[Finding, ...]:
    """Leave out what is repaired inside what another repair removes: a removed token is not capped as well."""
    removed = {
        edit.pointer
        for finding in findings
        if finding.is_repaired
        for edit in finding.violation.edits
        if isinstance(edit, Remove)
    }
    if not removed:
        return tuple(findings)
    return tuple([
        finding for finding in findings
        if not (finding.is_repaired and all(is_inside(edit.pointer, removed) for edit in finding.violation.edits))
    ])  # fmt: skip


def _build_decision(
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
    template = request.template_pointer
    for finding in findings:
        action = finding.action
        if action is _REJECT:
            outcome = Outcome.DENIED
        elif action is _PATCH:
            edits.extend(prefix_edits(template, finding.violation.edits) if template else finding.violation.edits)
        elif action is _WARN and outcome is Outcome.ALLOWED:
            outcome = Outcome.WARNED
    if edits and outcome is not Outcome.DENIED:
        outcome = Outcome.PATCHED
    patch = assemble(edits) if edits else ()
    if template:
        findings = tuple([
            replace(finding, violation=replace(finding.violation, pointer=template + finding.violation.pointer))
            for finding in findings
        ])  # fmt: skip
    return Decision(outcome, findings, patch, exempted, policy.revision, mode, help=policy.help)
