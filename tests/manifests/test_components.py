"""The components and overlays that change an installation: OpenShift, and excluded namespaces."""

import re

import pytest

from tests.manifests.rendering import CHECKOUT, INSTALLATIONS, render, render_text, the

CONFIGURATIONS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
PARTS = ("manifests/scanner", "manifests/retire", "manifests/components/background-scan")
CONDITION = "not-in-an-excluded-namespace"


def conditions(objects):
    return {
        webhook["name"]: webhook["matchConditions"]
        for kind in CONFIGURATIONS
        for webhook in the(kind, objects)["webhooks"]
    }


@pytest.mark.parametrize("folder", INSTALLATIONS)
def test_excluded_namespaces_are_a_condition_of_each_webhook(folder, tmp_path) -> None:
    text = (CHECKOUT / "manifests/components/exclude-namespaces/kustomization.yaml").read_text()
    shown = re.sub(r"^#  ?", "", "\n".join(re.findall(r"^#   .*", text, re.MULTILINE)), flags=re.MULTILINE)
    shown = shown.replace("../tokenguard/manifests]", f"../tokenguard/{folder}]")
    before, after = conditions(render(folder)), conditions(render_text(tmp_path, shown + "\n"))
    for name, changed in after.items():
        added = [condition for condition in changed if condition not in before[name]]
        assert [condition for condition in changed if condition in before[name]] == before[name]
        expected = {"name": CONDITION, "expression": "!(request.namespace in 'cert-manager,calico-system'.split(','))"}
        assert added == ([] if "policy" in name else [expected])


@pytest.mark.parametrize("folder", INSTALLATIONS)
def test_openshift_chooses_user_and_groups(folder, tmp_path) -> None:
    overlay = f"resources: [../tokenguard/{folder}]\ncomponents: [../tokenguard/manifests/components/openshift]\n"
    objects = render_text(tmp_path, overlay)
    context = the("Deployment", objects)["spec"]["template"]["spec"]["securityContext"]
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if folder == "manifests":
        assert objects == render("manifests/overlays/openshift")


@pytest.mark.parametrize("folder", [*INSTALLATIONS, "manifests/overlays/monitoring", *PARTS])
def test_every_object_has_the_recommended_labels(folder) -> None:
    for obj in render(folder):
        labels = obj["metadata"]["labels"]
        assert {f"app.kubernetes.io/{label}" for label in ("version", "part-of", "managed-by")} <= set(labels), obj
