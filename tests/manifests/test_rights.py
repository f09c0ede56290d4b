"""The rights that the manifests give: each one explained, and none more than the way to get certificates takes."""

import re

import pytest
import yaml

from tests.manifests.rendering import FILES, INSTALLATIONS, render, the
from webhook.cluster.admission_history import MUTATING_WEBHOOK, WEBHOOK
from webhook.cluster.api_types import NAMESPACES
from webhook.cluster.permission_reader import BINDINGS
from webhook.cluster.permission_reader import ROLES as RBAC_ROLES
from webhook.cluster.scan_reader import ACCOUNTS, CSI_DRIVERS, PODS, SECRETS, WORKLOAD_KINDS
from webhook.core.custom_workloads import WELL_KNOWN

ROLES = [file for file in FILES if file.stem in {"cluster-role", "role"}]
READ_BY_SCAN = (
    NAMESPACES,
    SECRETS,
    ACCOUNTS,
    CSI_DRIVERS,
    PODS,
    WEBHOOK,
    MUTATING_WEBHOOK,
    *RBAC_ROLES,
    *BINDINGS,
    *(maker.resource for maker in WORKLOAD_KINDS),
)
CUSTOM_KINDS = [(group, kind) for group, kind in WELL_KNOWN if "." in group]
MAINTAINED = {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"}

NAMELESS = [["events"]]
"""Objects whose names are derived from their content."""


def rights(folder):
    objects = render(folder)
    return [rule for kind in ("ClusterRole", "Role") for rule in the(kind, objects)["rules"]]


@pytest.mark.parametrize("file", ROLES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_permission_is_explained(file) -> None:
    text = file.read_text()
    lists = re.findall(r"^( *)verbs:\n((?:\1- .*\n)+)", text, re.MULTILINE)
    lines = [line for _, verbs in lists for line in verbs.splitlines()]
    assert len(lines) == sum(document_verbs(yaml.safe_load_all(text)))
    assert lines
    assert [line for line in lines if not re.fullmatch(r" *- \w+ +# .{6,}", line)] == []


def document_verbs(documents):
    for document in documents:
        rules = [rule["value"] for rule in document] if isinstance(document, list) else document.get("rules", [])
        yield from (len(rule["verbs"]) for rule in rules)


@pytest.mark.parametrize("folder", INSTALLATIONS)
@pytest.mark.covers("threat-model: tokenguard's account")
def test_permissions_have_no_wildcard_and_name_what_is_written(folder) -> None:
    for rule in rights(folder):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        if {"update", "patch", "delete"} & set(rule["verbs"]) and rule["resources"] not in NAMELESS:
            assert rule["resourceNames"]


@pytest.mark.parametrize("folder", INSTALLATIONS[1:])
def test_permissions_without_managed_certificates_write_events(folder) -> None:
    assert not MAINTAINED & {resource for rule in rights(folder) for resource in rule["resources"]}
    written = {rule["resources"][0] for rule in rights(folder) if not {"list", "watch"} >= set(rule["verbs"])}
    assert written == {"events"}


@pytest.mark.parametrize("folder", INSTALLATIONS)
def test_permissions_are_bound_to_the_account_of_the_pods(folder) -> None:
    objects = render(folder)
    account = the("ServiceAccount", objects)["metadata"]
    for kind in ("ClusterRole", "Role"):
        binding = the(f"{kind}Binding", objects)
        assert binding["roleRef"] == {
            "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": the(kind, objects)["metadata"]["name"],
        }  # fmt: skip
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        ]


def test_scanner_may_list_and_read_namespaces_only() -> None:
    rules = [
        rule for obj in render("manifests/scanner") if obj["kind"] in ("ClusterRole", "Role") for rule in obj["rules"]
    ]
    assert [rule for rule in rules if rule["verbs"] != ["list"]] == [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}
    ]
    assert {resource for rule in rules for resource in rule["resources"]} == {
        *(resource.path.rpartition("/")[2] for resource in READ_BY_SCAN), "configmaps",
        *(f"{kind.lower()}s" for _, kind in CUSTOM_KINDS),
    }  # fmt: skip
    granted = {group for rule in rules for group in rule["apiGroups"]}
    assert {group for group, _ in CUSTOM_KINDS} <= granted


def test_retiring_account_may_patch_and_delete_secrets_besides() -> None:
    objects = render("manifests/retire")
    rules = the("ClusterRole", objects, "tokenguard-retire")["rules"]
    assert {resource: rule["verbs"] for rule in rules for resource in rule["resources"]} == {
        "secrets": ["list", "patch", "delete"], "events": ["create"], "selfsubjectreviews": ["create"],
    }  # fmt: skip
    bindings = [obj for obj in objects if obj["kind"].endswith("Binding")]
    assert {subject["name"] for binding in bindings for subject in binding["subjects"]} == {"tokenguard-retire"}
    scanner = {(obj["kind"], obj["metadata"]["name"]) for obj in render("manifests/scanner")}
    assert {(binding["roleRef"]["kind"], binding["roleRef"]["name"]) for binding in bindings} - scanner == {
        ("ClusterRole", "tokenguard-retire")
    }
