"""What ServiceAccounts may do, by roles and bindings."""

from typing import Any

import pytest

from tests.scan.small_cluster import binding, role
from webhook.scan.rbac import Permission, Permissions

EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
APP = {"kind": "ServiceAccount", "name": "app", "namespace": "shop"}


def rule(resources: str, verbs: str, groups: str = "", **more: Any) -> dict[str, Any]:
    return {"apiGroups": groups.split(","), "resources": resources.split(","), "verbs": verbs.split(","), **more}


def grants(*rules: dict[str, Any], namespace: str = "") -> dict[str, tuple[str, ...]]:
    """Return the grants of an account that is bound to a ClusterRole with these rules."""
    permissions = Permissions()
    permissions.add_role(role("r", *rules))
    permissions.add_binding(binding(APP, to="ClusterRole/r", name="b", namespace=namespace or None))
    return {grant.permission.name: grant.namespaces for grant in permissions.of("shop", "app")}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param([EVERYTHING], ["EVERYTHING"], id="cluster-admin"),
        pytest.param(
            [rule("*", "*")], ["ESCALATION", "TOKENS", "SECRETS", "EXEC", "WORKLOADS", "WRITE"], id="core group"
        ),
        pytest.param([rule("secrets", "get")], ["SECRETS"], id="get secrets"),
        pytest.param([rule("secrets", "watch")], ["SECRETS"], id="watch secrets"),
        pytest.param([rule("secrets", "create")], ["WRITE"], id="create secrets"),
        pytest.param([rule("secrets", "get", resourceNames=["one"])], ["READ"], id="a secret by its name"),
        pytest.param([rule("secrets,pods", "list")], ["SECRETS", "READ"], id="secrets and others"),
        pytest.param([rule("serviceaccounts/token", "create")], ["TOKENS"], id="token requests"),
        pytest.param([rule("pods/exec", "create")], ["EXEC"], id="exec"),
        pytest.param([rule("deployments", "patch", "apps")], ["WORKLOADS"], id="workloads"),
        pytest.param([rule("clusterroles", "bind", "rbac.authorization.k8s.io")], ["ESCALATION"], id="bind"),
        pytest.param([rule("users", "impersonate")], ["ESCALATION"], id="impersonate"),
        pytest.param([rule("clusterroles", "get", "rbac.authorization.k8s.io")], ["READ"], id="read roles"),
        pytest.param([rule("configmaps", "update")], ["WRITE"], id="write"),
        pytest.param([rule("pods,configmaps", "create")], ["WORKLOADS", "WRITE"], id="workloads and others"),
        pytest.param([rule("pods", "delete")], ["WRITE"], id="delete pods"),
        pytest.param([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}], [], id="not a resource"),
        pytest.param([], ["READ"], id="read pods"),
    ],
)
def test_rule_has_its_most_dangerous_permissions(rules, expected):
    assert list(grants(*rules)) == expected


def test_grants_in_the_cluster_come_before_those_in_namespaces():
    permissions = Permissions()
    permissions.add_role(role("admin", EVERYTHING))
    permissions.add_role(role("reader", rule("secrets", "get")))
    permissions.add_role(role("reader", rule("configmaps", "update"), namespace="b"))
    permissions.add_binding(binding(APP, to="ClusterRole/admin", name="b", namespace="a"))
    permissions.add_binding(binding(APP, to="ClusterRole/reader", name="b"))
    permissions.add_binding(binding(APP, to="Role/reader", name="b", namespace="b"))
    grants = [(grant.permission, grant.namespaces) for grant in permissions.of("shop", "app")]
    assert grants == [(Permission.SECRETS, ()), (Permission.EVERYTHING, ("a",)), (Permission.WRITE, ("b",))]


def test_grants_of_an_admin_include_all_others():
    permissions = Permissions()
    for name, namespace in (("x", None), ("y", "a")):
        permissions.add_role(role(name, EVERYTHING if name == "x" else rule("secrets", "get")))
        permissions.add_binding(binding(APP, to=f"ClusterRole/{name}", name=name, namespace=namespace))
    assert [grant.permission for grant in permissions.of("shop", "app")] == [Permission.EVERYTHING]


def test_grants_in_namespaces_are_collected():
    permissions = Permissions()
    permissions.add_role(role("r", rule("secrets", "get")))
    for namespace in ("b", "a"):
        permissions.add_binding(binding(APP, to="ClusterRole/r", name="r", namespace=namespace))
    [grant] = permissions.of("shop", "app")
    assert grant.namespaces == ("a", "b")


@pytest.mark.parametrize("to", ["Role/r", "ClusterRole/missing"])
def test_binding_of_a_missing_role_grants_nothing(to):
    permissions = Permissions()
    permissions.add_role(role("r"))
    permissions.add_binding(binding(APP, to=to, name="b", namespace="shop"))
    assert permissions.of("shop", "app") == ()


@pytest.mark.parametrize(("rules", "expected"), [
    pytest.param([rule("pods,pods/log", "get"), rule("configmaps", "list")], ("configmaps", "pods"), id="read"),
    pytest.param([rule("nodes/metrics", "get")], ("nodes/metrics",), id="a subresource"),
    pytest.param([rule("secrets,pods", "get")], ("pods",), id="besides Secrets"),
    pytest.param([rule("pods,pods/exec,secrets,services", "create")], ("secrets", "services"), id="write"),
    pytest.param([rule("secrets", "get", resourceNames=["one"])], ("some secrets",), id="by name"),
    pytest.param(
        [rule("configmaps", "get", resourceNames=["one"]), rule("configmaps", "get")], ("configmaps",), id="and any",
    ),
    pytest.param([rule("*", "get", "apps,")], ("*.apps", "*.core"), id="groups"),
    pytest.param([rule("*", "get", "*"), rule("pods", "get")], ("*",), id="all"),
    pytest.param([rule("secrets", "get", "example.com")], ("secrets",), id="another group's Secrets"),
])  # fmt: skip
def test_grant_names_what_may_be_written_or_read(rules, expected):
    permissions = Permissions()
    permissions.add_role(role("r", *rules))
    permissions.add_binding(binding(APP, to="ClusterRole/r", name="b"))
    assert permissions.of("shop", "app")[-1].resources == expected


def test_grant_besides_an_unread_role_names_no_resources():
    permissions = Permissions(is_partial=True)
    permissions.add_role(role("r", rule("configmaps", "update"), namespace="shop"))
    for to in ("Role/r", "ClusterRole/edit"):
        permissions.add_binding(binding(APP, to=to, name="b", namespace="shop"))
    assert {grant.resources for grant in permissions.of("shop", "app")} == {()}


def test_role_binding_grants_in_its_namespace_only():
    assert grants(rule("secrets", "get"), namespace="shop") == {"SECRETS": ("shop",)}
