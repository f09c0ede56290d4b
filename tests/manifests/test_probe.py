"""The namespace of the self-probe: nothing can run in it, and its right is for tokenguard's account alone."""

import pytest

from tests.manifests.namespaces import mentions
from tests.manifests.rendering import INSTALLATIONS, environment_of, render, render_text, shown_kustomizations, the
from webhook.status.probe import PROBE_NAMESPACE

PROBE = "manifests/probe"
COMPONENT = "components: [../tokenguard/manifests/components/probe]\n"


def test_probe_namespace_allows_no_pod_and_one_right() -> None:
    objects = render(PROBE)
    assert {obj["kind"] for obj in objects} == {"Namespace", "ResourceQuota", "Role", "RoleBinding"}
    assert the("ResourceQuota", objects, "nothing-runs-here")["spec"] == {"hard": {"pods": "0"}}
    assert the("Role", objects)["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}]
    account = the("ServiceAccount", render("manifests"))["metadata"]
    assert the("RoleBinding", objects)["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]


@pytest.mark.parametrize("folder", INSTALLATIONS)
def test_component_adds_the_probe_to_an_installation(folder, tmp_path) -> None:
    objects = render_text(tmp_path, f"resources: [../tokenguard/{folder}]\n{COMPONENT}")
    assert sorted(objects, key=str) == sorted([*render(folder), *render(PROBE)], key=str)
    assert the("Namespace", objects, environment_of(the("Deployment", objects))["TOKENGUARD_PROBE_NAMESPACE"])


@pytest.mark.parametrize("namespace", ["security", "n" * 63])
def test_documented_kustomizations_add_it_to_another_namespace(namespace, tmp_path) -> None:
    inner, outer = shown_kustomizations("docs/install.md", "namespace: security", "resources: [security]")
    (tmp_path / "security").mkdir()
    (tmp_path / "security" / "policy.yaml").write_text("apiVersion: tokenguard/v1\nkind: TokenPolicy\n")
    render_text(tmp_path / "security", inner.replace("namespace: security", f"namespace: {namespace}"))
    objects = render_text(tmp_path, outer)
    assert {obj["metadata"].get("namespace") for obj in objects} == {None, namespace, PROBE_NAMESPACE}
    assert [obj["metadata"]["name"] for obj in objects if obj["kind"] == "Namespace"] == [namespace, PROBE_NAMESPACE]
    assert mentions(objects) == []
    [binding] = [obj for obj in of_the_probe(objects) if obj["kind"] == "RoleBinding"]
    assert [subject["namespace"] for subject in binding["subjects"]] == [namespace]


def test_component_fails_in_a_kustomization_with_a_namespace(tmp_path) -> None:
    with pytest.raises(AssertionError, match="namespace transformation produces ID conflict"):
        render_text(tmp_path, f"namespace: security\nresources: [../tokenguard/manifests]\n{COMPONENT}")


def of_the_probe(objects):
    return [obj for obj in objects if obj["metadata"].get("namespace") == PROBE_NAMESPACE]
