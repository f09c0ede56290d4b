"""Whether the webhook configurations are as the manifests have them, and which namespaces they exclude."""

import re
from collections.abc import Iterator, Mapping, Sequence

from webhook.core.exclusions import SYSTEM_NAMESPACE
from webhook.core.formatting import counted, listing
from webhook.core.webhook_namespaces import NAME_LABEL, Requirement, names_in_condition, uncallable
from webhook.status.facts import ClusterFacts, ConfigurationFacts, NotRead, WebhookFacts
from webhook.status.report import RowState, StatusProblem, StatusRow, build_row, unread_row

MUTATING, VALIDATING = "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"
_WRITTEN = ("CREATE", "UPDATE")
_WORKLOADS = (
    "deployments", "statefulsets", "daemonsets", "replicasets", "jobs", "cronjobs", "replicationcontrollers",
    "serviceaccounts",
)  # fmt: skip
SHIPPED: Mapping[str, Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]]] = {
    MUTATING: {"pods.mutate.tokenguard.svc": ("Ignore", {"pods": ("CREATE",)})},
    VALIDATING: {
        "pods.validate.tokenguard.svc": ("Fail", {"pods": ("CREATE",), "pods/ephemeralcontainers": ("UPDATE",)}),
        "secrets.validate.tokenguard.svc": ("Fail", {"secrets": _WRITTEN}),
        "tokens.validate.tokenguard.svc": ("Fail", {"serviceaccounts/token": ("CREATE",)}),
        "policy.validate.tokenguard.svc": ("Ignore", {"configmaps": _WRITTEN}),
        "workloads.validate.tokenguard.svc": ("Ignore", dict.fromkeys(_WORKLOADS, _WRITTEN)),
        "large-policy.validate.tokenguard.svc": ("Fail", {"configmaps": _WRITTEN}),
    },
}
"""The webhooks of the manifests: failurePolicy, and the operations of each resource."""
_OPTIONAL = re.compile(r"(?:large-)?policy\.|workloads\.")
"""Webhooks without which pods, Secrets and tokens are evaluated all the same."""
CONDITIONS = frozenset({
    "not-a-nodes-mirror-pod", "gives-a-token-that-never-expires", "not-the-token-controller", "not-a-node",
    "not-kube-system", "a-policy", "not-large", "large", "not-the-controller-manager",
})  # fmt: skip
_EXCLUDED_BY_CONDITION = "not-in-an-excluded-namespace"
OPT_OUT_ANNOTATION = "tokenguard/namespace-opt-out-label"
"""The annotation of a webhook configuration that names the label by which Namespaces may be excluded (chart value)."""


def configuration_row(facts: ClusterFacts, kind: str) -> StatusRow:
    """Return the row of one of the two configurations."""
    name = "mutating" if kind == MUTATING else "validating"
    configuration = facts.configurations[kind]
    if isinstance(configuration, NotRead):
        return unread_row(name, configuration.reason)
    if configuration is None:
        effect = "no token is capped or injected" if kind == MUTATING else "nothing is denied"
        needs_replica = not (facts.has_ready_replica or facts.needs_two_steps)
        fix = f"with a ready replica, {facts.install_command}" if needs_replica else facts.install_command
        return build_row(name, "does not exist", (StatusProblem(f"{kind}/tokenguard does not exist: {effect}", fix),))
    problems = tuple(_problems(configuration, facts))
    return build_row(
        name, f"{counted(len(configuration.webhooks), 'webhook')}{'' if problems else ', as shipped'}", problems
    )


def _problems(configuration: ConfigurationFacts, facts: ClusterFacts) -> Iterator[StatusProblem]:
    install = facts.install_command
    for name, (failure_policy, rules) in SHIPPED[configuration.kind].items():
        webhook = configuration.webhooks.get(name)
        is_note = bool(_OPTIONAL.match(name))
        if webhook is None:
            yield StatusProblem(f"{configuration} has no webhook {name}", install, is_note)
            continue
        missing = {(resource, operation) for resource, operations in rules.items() for operation in operations}
        missing -= webhook.rules
        if missing:
            what = ", ".join(sorted(f"{operation} of {resource}" for resource, operation in missing))
            yield StatusProblem(f"{configuration}: {name} is not called for {what}", install, is_note)
        yield from _setting_problems(configuration, webhook, failure_policy, install)
    shipped = [configuration.webhooks[name] for name in SHIPPED[configuration.kind] if name in configuration.webhooks]
    yield from _target_problems(configuration, shipped, facts)
    if missing_bundle := uncallable({webhook.name: webhook.bundle for webhook in shipped}):
        text = f"{configuration}: no caBundle in {names_of(missing_bundle)}"
        yield StatusProblem(text, facts.certificate_fix, depends_on=("replicas", "certificate"))


def _target_problems(
    configuration: ConfigurationFacts, shipped: list[WebhookFacts], facts: ClusterFacts
) -> Iterator[StatusProblem]:
    """Yield a problem for each other Service that webhooks call."""
    own = f"{facts.namespace}/tokenguard"
    for target in sorted({webhook.target for webhook in shipped} - {own, ""}):
        names = names_of([webhook.name for webhook in shipped if webhook.target == target])
        fix = facts.install_command
        if target.endswith("/tokenguard"):
            other = target.removesuffix("/tokenguard")
            fix = f"if tokenguard is in namespace {other}: tokenguard status --own-namespace {other}; else {fix}"
        yield StatusProblem(f"{configuration}: Service {target} is called, not {own}, by {names}", fix)


def names_of(webhooks: Sequence[str]) -> str:
    """Return the first name, and how many more there are."""
    return webhooks[0] + (f" and {len(webhooks) - 1} more" if len(webhooks) > 1 else "")


def _setting_problems(
    configuration: ConfigurationFacts, webhook: WebhookFacts, failure_policy: str, install: str
) -> Iterator[StatusProblem]:
    name = webhook.name
    if webhook.failure_policy != failure_policy:
        effect = "lets requests pass" if webhook.failure_policy == "Ignore" else "rejects requests"
        text = (
            f"{configuration}: failurePolicy of {name} is {webhook.failure_policy}:"
            f" it {effect} while tokenguard is down"
        )
        yield StatusProblem(text, is_note=True)
    if webhook.has_object_selector:
        yield StatusProblem(f"{configuration}: {name} has an objectSelector: authors evade it by a label", install)
    for condition, _ in webhook.conditions:
        if condition not in CONDITIONS | {_EXCLUDED_BY_CONDITION}:
            yield StatusProblem(
                f"{configuration}: {name} has a matchCondition that is not tokenguard's: {condition}", is_note=True
            )


def namespaces_row(facts: ClusterFacts) -> StatusRow:
    """Return the row of the namespaces in which pods are not evaluated."""
    name = "namespaces"
    configurations = [
        configuration
        for configuration in facts.configurations.values()
        if isinstance(configuration, ConfigurationFacts)
    ]
    webhooks = [
        webhook
        for configuration in configurations
        for webhook in configuration.webhooks.values()
        if webhook.name.startswith("pods.")
    ]
    if isinstance(facts.namespaces, NotRead):
        return unread_row(name, facts.namespaces.reason)
    if not configurations:
        if any(facts.configurations.values()):
            return StatusRow(name, "unknown: the webhook configurations were not read", RowState.UNKNOWN)
        return StatusRow(name, "none evaluated: no webhook configuration", RowState.ABSENT)
    by_name, by_label = set[str](), dict[str, str]()
    for namespace, labels in facts.namespaces.items():
        for webhook in webhooks:
            term = _failing_term(webhook, {**labels, NAME_LABEL: namespace})
            if namespace in _names_in_conditions(webhook) or (term and term.key == NAME_LABEL):
                by_name.add(namespace)
            elif term:
                by_label[namespace] = term.key
    extra = by_name - {SYSTEM_NAMESPACE, facts.namespace}
    chosen = {configuration.opt_out_label for configuration in configurations}
    problems = [
        StatusProblem(
            f"namespace {namespace} is excluded by its label {key}"
            f"{', as this installation allows' if key in chosen else ''}: pods in it are not evaluated",
            f"kubectl label namespace {namespace} {key}-"
            if key in facts.namespaces[namespace]
            else f"add the label {key} to it, or remove it from the namespaceSelector of the webhooks",
            is_note=key in chosen,
        )
        for namespace, key in sorted(by_label.items())
    ]
    if extra:
        problems.append(
            StatusProblem(f"pods in {listing(sorted(extra))} are not evaluated: excluded by name", is_note=True)
        )
    evaluated = len(facts.namespaces) - len(by_name | by_label.keys()) if webhooks else 0
    excluded = ", ".join(sorted(by_name | by_label.keys())[:10]) or "none"
    return build_row(name, f"{evaluated} evaluated; excluded: {excluded}", tuple(problems))


def _failing_term(webhook: WebhookFacts, labels: Mapping[str, str]) -> Requirement | None:
    """Return the requirement of the namespaceSelector that labels do not meet; one about labels before the name's."""
    failing = [term for term in webhook.namespace_selector if not term.is_met(labels)]
    return min(failing, key=lambda term: term.key != NAME_LABEL, default=None)


def _names_in_conditions(webhook: WebhookFacts) -> frozenset[str]:
    """Return the namespaces that the component `exclude-namespaces` names in a matchCondition."""
    return frozenset(name for _, expression in webhook.conditions for name in names_in_condition(expression))
