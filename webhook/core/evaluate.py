"""The one place that decides, for the webhook, for `check` and for `scan`."""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from msgspec.structs import replace

from webhook.core.account_views import AccountView, account_view
from webhook.core.cluster import Cluster
from webhook.core.decision import Coverage, Decision, Finding, Outcome, Violation
from webhook.core.objects import AnyWorkload, CustomWorkload, OwnerReference, PodTemplate
from webhook.core.patch import assemble, below
from webhook.core.policy import admission
from webhook.core.policy.configmap import ConfigMap
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import Action, Mode, NamespacePolicy, Policy
from webhook.core.request import ADVISED, CLUSTER_SCOPED, GRANTS, KINDS, Phase, Request, Subject
from webhook.core.rule import Check
from webhook.core.rules import RULES
from webhook.core.views import PodView, pod_view

MACHINERY_NAMESPACE, OWN_NAMESPACE = "kube-system", "tokenguard"
NODES, NODE_USER = "system:nodes", "system:node:"
"""The group and the beginning of the user name of every kubelet: only both together are one's identity."""
TOKEN_CONTROLLER = "system:kube-controller-manager"  # noqa: S105 - the user that fills Secrets with tokens
_MIRROR = "kubernetes.io/config.mirror"
_KUBE_SYSTEM_ACCOUNT = "system:serviceaccount:kube-system:"
_PATCH, _REJECT, _WARN, _AUDIT = Action.PATCH, Action.REJECT, Action.WARN, Action.AUDIT
_MUTATE, _VALIDATE = Phase.MUTATE, Phase.VALIDATE
_DID_NOT_RUN = (
    "the mutating webhook didn't run: look for MutatingWebhookConfiguration/tokenguard and its webhook's pods"
)

MAX_FINDINGS = 1000
"""The largest number of findings of one rule in one object, so that an object that breaks a rule a hundred thousand
times makes neither a large decision nor a large patch. A pod of which so many are patched is denied for the rest."""

View = PodView | AccountView


def evaluate(request: Request, policy: Policy, cluster: Cluster, now: dt.datetime) -> Decision:
    """Return what is done about one request under a policy, in a cluster, at a time (aware, any zone).

    Pure: the same arguments give the same decision, and nothing else happens.
    """
    settled = without_policy(request)
    if settled is not None:
        return replace(settled, policy=policy.revision)
    if request.subject is None:
        return _unreadable(request, policy, policy.strictest_mode)
    here = _policy_for(request, policy, cluster)
    if request.problem:
        return _unreadable(request, policy, here.mode)
    view, account = _view(request, policy, here, cluster)
    if view is None:
        return Decision(Outcome.ALLOWED, policy=policy.revision, mode=here.mode, note="no rule looks at it")
    findings: list[Finding] = []
    exempted: list[tuple[Finding, Exemption]] = []
    for rule, check, intended in _active(here, request.subject):
        violations = iter(check(view))
        first = next(violations, None)
        if first is None:
            continue  # as mostly: the rest costs as much as many a check
        decided = (_decide(rule, intended, found, request, here.mode) for found in chain((first,), violations))

        def exemption_for(accounts: tuple[str, ...], rule: str = rule) -> Exemption | None:
            return policy.exempt.find(rule, request.namespace, accounts, request.user, now)

        _sort_out(filter(None, decided), account, exemption_for, findings, exempted)
    return _concluded(request, policy, here.mode, tuple(findings), tuple(exempted))


def _sort_out(
    decided: Iterable[Finding],
    account: str,
    exemption_for: Callable[[tuple[str, ...]], Exemption | None],
    findings: list[Finding],
    exempted: list[tuple[Finding, Exemption]],
) -> None:
    """Add the findings of one rule to `findings`, or to `exempted` where an exemption covers them.

    At most `MAX_FINDINGS` are added to each. All exempted ones are looked at, so that they hide none that isn't.
    """
    found: dict[str | None, Exemption | None] = {}  # one look-up for each account, not for each finding
    most_findings, most_exempted = len(findings) + MAX_FINDINGS, len(exempted) + MAX_FINDINGS
    for finding in decided:
        other = finding.violation.other_account
        if other not in found:
            found[other] = exemption_for((account,) if other is None else (account, other))
        exemption = found[other]
        if exemption is None:
            findings.append(finding)
            if len(findings) == most_findings:
                return
        elif len(exempted) < most_exempted:
            exempted.append((finding, exemption))


def without_policy(request: Request) -> Decision | None:
    """Return the decision where it is the same under every policy, and so under none, or None where it isn't.

    So it is about what no rule looks at, about what is the cluster's own business, and about a policy's ConfigMap.
    """
    note: str | None
    coverage = Coverage.NOT_EVALUATED
    if request.subject is None:
        note = None if request.problem else f"no rule looks at {request.operation} of {request.resource}"
    elif request.phase is _MUTATE and request.subject is not Subject.POD:
        note = f"{request.resource}: judged in /validate"
    elif isinstance(request.object, ConfigMap):
        old = request.old_object if isinstance(request.old_object, ConfigMap) else None
        return admission.decide(request.object, old, request.namespace)
    elif request.subject is Subject.POLICY:
        return Decision(Outcome.DENIED, problem=request.problem)
    elif (machinery := _machinery(request)) is not None:
        note, coverage = machinery, Coverage.LEFT_ALONE
    else:
        note = _without_template(request.object)
    return None if note is None else Decision(Outcome.ALLOWED, note=note, coverage=coverage)


def _policy_for(request: Request, policy: Policy, cluster: Cluster) -> NamespacePolicy:
    if request.subject in CLUSTER_SCOPED:
        return policy.in_cluster()
    return policy.in_namespace(request.namespace, cluster.namespace_labels(request.namespace))


def _machinery(request: Request) -> str | None:
    """Return why a request is the cluster's own business, or None where it isn't."""
    if request.namespace == MACHINERY_NAMESPACE:
        return f"namespace {request.namespace} is left alone"
    if request.namespace == OWN_NAMESPACE and request.subject not in GRANTS:
        return f"namespace {request.namespace} is left alone, but for new tokens in it"
    return _component(request)


def _component(request: Request) -> str | None:
    """Return what a request by a component of Kubernetes is for, or None where it is another one."""
    if request.subject is Subject.SECRET and request.operation == "UPDATE" and request.user == TOKEN_CONTROLLER:
        return "the token controller updates a Secret"
    if request.subject is Subject.TOKEN_REQUEST:
        if _is_node(request):
            return "the kubelet asks for a pod's token"
        if request.user.startswith(_KUBE_SYSTEM_ACCOUNT):
            return "an account of kube-system asks for a token"
    if request.subject is Subject.POD and _is_node(request) and isinstance(request.object, PodTemplate):
        return "a mirror pod, made by the kubelet" if _MIRROR in (request.object.metadata.annotations or ()) else None
    return None


def _without_template(found: object) -> str | None:
    """Return why an object of a custom kind can't be evaluated, or None: a Rollout may refer to a Deployment."""
    if isinstance(found, CustomWorkload) and found.given_template is None:
        return f"it has no pod template at {found.at}"
    return None


def _is_node(request: Request) -> bool:
    return NODES in request.groups and request.user.startswith(NODE_USER)


def _unreadable(request: Request, policy: Policy, mode: Mode) -> Decision:
    """Decide about what can't be judged: it is not let through where the policy enforces."""
    outcome = Outcome.ALLOWED
    if request.subject not in ADVISED and mode is Mode.ENFORCE:
        outcome = Outcome.DENIED
    elif mode is not Mode.AUDIT:
        outcome = Outcome.WARNED
    return Decision(outcome, policy=policy.revision, mode=mode, problem=request.problem)


def _view(request: Request, policy: Policy, here: NamespacePolicy, cluster: Cluster) -> tuple[View | None, str]:
    """Return what the rules look at, and the account that it is about."""
    found = request.object
    if isinstance(found, PodTemplate):
        view = pod_view(request, found, here, policy, cluster)
        return view, view.account
    if isinstance(found, AnyWorkload):
        if request.phase is not Phase.CHECK and _is_advised_of(found.metadata.controller):
            return None, ""  # its author has been told already
        view = pod_view(request, found.template, here, policy, cluster)
        return view, view.account
    return account_view(request, here, policy, cluster)


def _is_advised_of(owner: OwnerReference | None) -> bool:
    """Say whether an owner is of a kind whose template is judged. Of others, such as a custom one, nobody was told."""
    if owner is None:
        return False
    kind = KINDS.get(((owner.api_version or "").partition("/")[0], owner.kind or ""))
    return kind is not None and kind.subject is Subject.TEMPLATE


def _active(here: NamespacePolicy, subject: Subject) -> tuple[tuple[str, Check, Action], ...]:
    """Return the rules that look at a subject and are not off, by name, remembered for the namespace."""
    active = here.active.get(subject)
    if active is None:
        active = here.active[subject] = tuple(
            (rule.name, rule.check_of(subject), _intended(here.rules[rule.name], subject))
            for rule in RULES
            if subject in rule.looks_at and here.rules[rule.name] is not Action.OFF
        )
    return active


def _intended(action: Action, subject: Subject) -> Action:
    """Return the action for a subject: ServiceAccounts and CSIDrivers are at most warned about."""
    only_warned = subject in (Subject.SERVICE_ACCOUNT, Subject.CSI_DRIVER)
    return _WARN if only_warned and action in (_PATCH, _REJECT) else action


def _decide(rule: str, intended: Action, found: Violation, request: Request, mode: Mode) -> Finding | None:
    """Return what is done about a violation in this phase, or None where that is left to the other one."""
    if found.warn_only and intended in (_PATCH, _REJECT):
        intended = _WARN
    if (found.api_server_own or not found.authored) and found.fix and intended is _REJECT:
        intended = _PATCH  # the API server's own token is patched, whether Kubernetes or the author projects it
    phase = request.phase
    repairs = intended is _PATCH and bool(found.fix)
    action = intended
    if mode is Mode.AUDIT or intended is _AUDIT:
        action = _AUDIT
    elif mode is Mode.WARN or intended is _WARN or _only_advised(request):
        action = _WARN if found.authored else _AUDIT
    elif repairs and phase is not _VALIDATE:
        action = _PATCH
    else:
        action = _REJECT
    if phase is _MUTATE and action is not _PATCH:
        return None
    if repairs and action is _REJECT and not found.authored:
        found = replace(found, advice=_DID_NOT_RUN)
        intended = _REJECT
    return Finding(rule, action, intended, found)


def _only_advised(request: Request) -> bool:
    return request.subject is Subject.TEMPLATE and request.phase is _VALIDATE


def _concluded(
    request: Request,
    policy: Policy,
    mode: Mode,
    findings: tuple[Finding, ...],
    exempted: tuple[tuple[Finding, Exemption], ...],
) -> Decision:
    if not findings:
        return Decision(Outcome.ALLOWED, exempted=exempted, policy=policy.revision, mode=mode)
    actions = [finding.action for finding in findings]
    fixes = [finding.violation.fix for finding in findings if finding.action is _PATCH]
    at = request.template_at
    patch = assemble(edit for fix in fixes for edit in (below(at, fix) if at else fix)) if fixes else ()
    if at:
        findings = tuple(_within_template(at, findings))
    if _REJECT in actions:
        outcome = Outcome.DENIED
    elif fixes:
        outcome = Outcome.PATCHED
    elif _WARN in actions:
        outcome = Outcome.WARNED
    else:
        outcome = Outcome.ALLOWED
    return Decision(outcome, findings, patch, exempted, policy.revision, mode)


def _within_template(at: str, findings: tuple[Finding, ...]) -> Iterator[Finding]:
    for finding in findings:
        yield replace(finding, violation=replace(finding.violation, pointer=at + finding.violation.pointer))
