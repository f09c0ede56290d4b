"""Whether the webhook configurations are as the manifests have them, and which namespaces they exclude."""

import re
from collections.abc import Iterator, Mapping

from webhook.core.exclusions import SYSTEM_NAMESPACE
from webhook.core.formatting import counted, listing
from webhook.core.webhook_namespaces import NAME_LABEL, Requirement, names_in_condition
from webhook.status.facts import ClusterFacts, ConfigurationFacts, NotRead, WebhookFacts
from webhook.status.report import StatusProblem, StatusRow, build_row, unread_row

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


def configuration_row(facts: ClusterFacts, kind: str) -> StatusRow:
    """Return the row of one of the two configurations."""
    name = "mutating" if kind == MUTATING else "validating"
    found = facts.configurations[kind]
    if isinstance(found, NotRead):
        return unread_row(name, found.reason)
    if found is None:
        effect = "no token is capped or injected" if kind == MUTATING else "nothing is denied"
        return build_row(
            name,
            "does not exist",
            (StatusProblem(f"{kind}/tokenguard does not exist: {effect}", facts.install_command),),
        )
    problems = tuple(_problems(found, facts.namespace, facts.install_command))
    return build_row(name, f"{counted(len(found.webhooks), 'webhook')}{'' if problems else ', as shipped'}", problems)


def _problems(found: ConfigurationFacts, namespace: str, install: str) -> Iterator[StatusProblem]:
    for name, (failure_policy, rules) in SHIPPED[found.kind].items():
        webhook = found.webhooks.get(name)
        is_note = bool(_OPTIONAL.match(name))
        if webhook is None:
            yield StatusProblem(f"{found} has no webhook {name}", install, is_note)
            continue
        missing = {(resource, operation) for resource, operations in rules.items() for operation in operations}
        missing -= webhook.rules
        if missing:
            what = ", ".join(sorted(f"{operation} of {resource}" for resource, operation in missing))
            yield StatusProblem(f"{found}: {name} is not called for {what}", install, is_note)
        yield from _setting_problems(found, webhook, failure_policy, namespace, install)


def _setting_problems(
    found: ConfigurationFacts, webhook: WebhookFacts, failure_policy: str, namespace: str, install: str
) -> Iterator[StatusProblem]:
    name = webhook.name
    if webhook.failure_policy != failure_policy:
        effect = "lets requests pass" if webhook.failure_policy == "Ignore" else "rejects requests"
        text = f"{found}: failurePolicy of {name} is {webhook.failure_policy}: it {effect} while tokenguard is down"
        yield StatusProblem(text, is_note=True)
    if webhook.has_object_selector:
        yield StatusProblem(f"{found}: {name} has an objectSelector: authors evade it by a label", install)
    if webhook.target not in (f"{namespace}/tokenguard", ""):
        yield StatusProblem(f"{found}: {name} calls Service {webhook.target}, not {namespace}/tokenguard", install)
    if not webhook.bundle:
        yield StatusProblem(f"{found}: {name} has no caBundle", "tokenguard certs status")
    for condition, _ in webhook.conditions:
        if condition not in CONDITIONS | {_EXCLUDED_BY_CONDITION}:
            yield StatusProblem(
                f"{found}: {name} has a matchCondition that is not tokenguard's: {condition}", is_note=True
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
    by_name, by_label = set[str](), dict[str, str]()
    for namespace, labels in facts.namespaces.items():
        for webhook in webhooks:
            term = _failing_term(webhook, {**labels, NAME_LABEL: namespace})
            if namespace in _names_in_conditions(webhook) or (term and term.key == NAME_LABEL):
                by_name.add(namespace)
            elif term:
                by_label[namespace] = term.key
    extra = by_name - {SYSTEM_NAMESPACE, facts.namespace}
    problems = [
        StatusProblem(
            f"namespace {namespace} is excluded by its label {key}: pods in it are not evaluated",
            f"kubectl label namespace {namespace} {key}-"
            if key in facts.namespaces[namespace]
            else f"add the label {key} to it, or remove it from the namespaceSelector of the webhooks",
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
