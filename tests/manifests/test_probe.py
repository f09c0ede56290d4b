"""The namespace of the self-probe: nothing can run in it, and it follows the installation's name."""

import re

from tests.manifests.rendering import CHECKOUT, environment_of, render, render_text, the

PROBE = "manifests/probe"


def test_probe_namespace_allows_no_pod_and_one_right() -> None:
    objects = render(PROBE)
    assert {obj["kind"] for obj in objects} == {"Namespace", "ResourceQuota", "Role", "RoleBinding"}
    assert the("ResourceQuota", objects, "nothing-runs-here")["spec"] == {"hard": {"pods": "0"}}
    assert the("Role", objects)["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}]
    account = the("ServiceAccount", render("manifests"))["metadata"]
    assert the("RoleBinding", objects)["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]


def test_replicas_probe_in_the_namespace_that_is_installed() -> None:
    variables = environment_of(the("Deployment", render("manifests")))
    assert the("Namespace", render(PROBE), variables["TOKENGUARD_PROBE_NAMESPACE"])


def test_overlay_in_the_comment_is_for_another_namespace(tmp_path) -> None:
    lines = (CHECKOUT / PROBE / "kustomization.yaml").read_text().splitlines()
    overlay = "\n".join(line.removeprefix("#   ") for line in lines if re.match(r"#   (?!kubectl)", line))
    objects = render_text(tmp_path, overlay)
    assert the("Namespace", objects, "security-probe")
    assert {obj["metadata"].get("namespace") for obj in objects} == {None, "security-probe"}
    [subject] = the("RoleBinding", objects)["subjects"]
    assert subject["namespace"] == "security"
