"""The webhook configurations: their rules, failure policies and conditions, and that each file says why."""

import re

import pytest

from tests.manifests.rendering import CHECKOUT, render, the
from webhook.core.cluster_state import DEFAULT_NAMESPACE as OWN_NAMESPACE
from webhook.core.exclusions import SYSTEM_NAMESPACE
from webhook.core.kinds import KINDS

WRITTEN = ["CREATE", "UPDATE"]
ADVISED_OF = (
    "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "ReplicationController", "ServiceAccount",
)  # fmt: skip
EXPECTED = {
    "pods.mutate.tokenguard.svc": ("Ignore", {"pods": ["CREATE"]}),
    "pods.validate.tokenguard.svc": ("Fail", {"pods": ["CREATE"], "pods/ephemeralcontainers": ["UPDATE"]}),
    "secrets.validate.tokenguard.svc": ("Fail", {"secrets": WRITTEN}),
    "tokens.validate.tokenguard.svc": ("Fail", {"serviceaccounts/token": ["CREATE"]}),
    "policy.validate.tokenguard.svc": ("Ignore", {"configmaps": WRITTEN}),
    "large-policy.validate.tokenguard.svc": ("Fail", {"configmaps": WRITTEN}),
    "workloads.validate.tokenguard.svc": ("Ignore", {f"{kind.lower()}s": WRITTEN for kind in ADVISED_OF}),
}
NOT_SENT = {"CSIDriver"}  # cluster-scoped: its administrators are warned by check and scan
PLURALS = {"TokenRequest": "serviceaccounts/token"}
EXPLAINED = (
    "failurePolicy|reinvocationPolicy|sideEffects|timeoutSeconds|matchPolicy|namespaceSelector|objectSelector"
    "|matchConditions"
)
BY_WHO_ASKS = (
    r"!\(request\.userInfo\.username\.startsWith|!request\.userInfo\.|request\.operation == 'CREATE' \|\| request\."
)
"""How a condition begins that leaves out what a node, kube-system or the token controller asks for."""
PATHS = {"MutatingWebhookConfiguration": "/mutate", "ValidatingWebhookConfiguration": "/validate"}


def configurations():
    objects = render("manifests")
    return [the(f"{kind}WebhookConfiguration", objects) for kind in ("Mutating", "Validating")]


def webhooks():
    return [webhook for configuration in configurations() for webhook in configuration["webhooks"]]


def operations(webhook):
    return {resource: rule["operations"] for rule in webhook["rules"] for resource in rule["resources"]}


@pytest.mark.covers("threat-model: caBundle replaced")
def test_webhook_has_its_rules_and_failure_policy() -> None:
    assert {webhook["name"]: (webhook["failurePolicy"], operations(webhook)) for webhook in webhooks()} == EXPECTED


def test_everything_that_rules_evaluate_is_sent() -> None:
    sent = {
        (group, resource, operation)
        for webhook in webhooks() if ".validate." in webhook["name"]
        for rule in webhook["rules"] for group in rule["apiGroups"]
        for resource in rule["resources"] for operation in rule["operations"]
    }  # fmt: skip
    evaluated = {
        ("" if kind == "TokenRequest" else group, PLURALS.get(kind, f"{kind.lower()}s"), operation)
        for (group, kind), entry in KINDS.items() for operation in entry.operations if kind not in NOT_SENT
    }  # fmt: skip
    assert evaluated <= sent
    assert not {f"{kind.lower()}s" for kind in NOT_SENT} & {resource for _, resource, _ in sent}


def test_webhooks_share_the_documented_settings() -> None:
    for webhook in webhooks():
        patience = 15 if webhook["name"].startswith("large-policy.") else 5
        effects = "NoneOnDryRun" if webhook["name"].startswith("pods.") else "None"  # Events on the owners of pods
        assert (webhook["sideEffects"], webhook["timeoutSeconds"]) == (effects, patience)
        assert webhook["matchPolicy"] == "Equivalent"
        assert webhook["admissionReviewVersions"] == ["v1"]
        assert {rule["scope"] for rule in webhook["rules"]} == {"Namespaced"}
    [mutating, _] = configurations()
    assert [webhook["reinvocationPolicy"] for webhook in mutating["webhooks"]] == ["IfNeeded"]


def test_webhooks_call_the_service_without_a_ca_bundle() -> None:
    service = the("Service", render("manifests"))
    called = {**service["metadata"], "port": service["spec"]["ports"][0]["port"]}
    called.pop("labels")
    for configuration in configurations():
        service_called = called | {"path": PATHS[configuration["kind"]]}
        for webhook in configuration["webhooks"]:
            assert webhook["clientConfig"] == {"service": service_called}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_webhook_covers_the_namespaces_that_are_evaluated(name) -> None:
    [webhook] = [webhook for webhook in webhooks() if webhook["name"] == name]
    [expression] = webhook["namespaceSelector"]["matchExpressions"]
    assert expression["key"] == "kubernetes.io/metadata.name"
    about = expression["operator"], set(expression["values"])
    if name.startswith(("policy.", "large-policy.")):
        assert about == ("In", {OWN_NAMESPACE})
    elif name.startswith(("secrets.", "tokens.")):
        assert about == ("NotIn", {SYSTEM_NAMESPACE}), "tokens that no pod of tokenguard's needs"
    else:
        assert about == ("NotIn", {SYSTEM_NAMESPACE, OWN_NAMESPACE})


@pytest.mark.parametrize("file", ["mutating.yaml", "validating.yaml"])
def test_settings_of_webhooks_are_explained(file) -> None:
    text = (CHECKOUT / "manifests/webhooks" / file).read_text()
    head, lines = text.split("\napiVersion:", 1)[0], text.splitlines()
    for number, line in enumerate(lines):
        key = re.match(rf"  ({EXPLAINED}):", line)
        if key and f"# - {key[1]}" not in head:
            assert lines[number - 1].startswith("  #"), f"{file}:{number + 1}: {line}"
    conditions = [number for number, line in enumerate(lines) if line.startswith("  - name: ")]
    assert conditions
    assert all(lines[number - 1].startswith("  #") for number in conditions)


@pytest.mark.covers("threat-model: labels and annotations")
def test_no_object_selector_lets_an_author_evade_a_webhook() -> None:
    must = [webhook for webhook in webhooks() if webhook["failurePolicy"] == "Fail" and "policy" not in webhook["name"]]
    assert len(must) == 3
    for webhook in webhooks():
        assert "objectSelector" not in webhook
    for webhook in must:
        [named] = webhook["namespaceSelector"]["matchExpressions"]
        assert named["key"] == "kubernetes.io/metadata.name", "a label that the API server sets itself"
        for condition in webhook["matchConditions"]:
            if condition["name"].startswith("not-"):
                assert re.match(rf"(?:{BY_WHO_ASKS})", condition["expression"]), condition["name"]
            else:
                assert condition["name"] == "gives-a-token-that-never-expires", (
                    "tests/manifests/test_secret_condition.py"
                )
