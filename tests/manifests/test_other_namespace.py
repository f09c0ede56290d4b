"""The manifests in another namespace: everything follows its name, and the default one has no meaning left."""

import re

import pytest
import yaml

from tests.manifests.namespaces import mentions
from tests.manifests.rendering import (
    INSTALLATIONS,
    MONITORING,
    environment_of,
    is_custom,
    load_all,
    render,
    render_text,
    the,
)
from webhook.core.cluster_state import DEFAULT_NAMESPACE
from webhook.pki.san import service_names

OTHER = "security"
SCANNER, RETIRE = "manifests/scanner", "manifests/retire"
ADDED = (MONITORING, SCANNER, RETIRE)
NAMES_IN_VALUES = "transformers: [../tokenguard/manifests/namespace]\n"


def overlay(*resources: str, more: str = "") -> str:
    listed = [f"../tokenguard/{folder}" for folder in resources]
    return f"namespace: {OTHER}\nresources: [{', '.join(listed)}]\n{more}"


@pytest.mark.parametrize("folder", INSTALLATIONS)
def test_mentions_in_the_default_namespace_are_found(folder) -> None:
    keys = {key for _, key, _ in mentions(render(folder))}
    assert keys >= {"namespace", "values"}


@pytest.mark.parametrize(
    "resources",
    [
        pytest.param(["manifests"], id="self-managed"),
        pytest.param(["manifests/overlays/by-hand"], id="by-hand"),
        pytest.param(["manifests", SCANNER], id="scanner"),
        pytest.param(["manifests", SCANNER, RETIRE], id="retire"),
    ],
)
def test_namespace_alone_moves_everything(resources, tmp_path) -> None:
    objects = render_text(tmp_path, overlay(*resources))
    assert mentions(objects) == []
    assert the("Namespace", objects, OTHER)
    for obj in objects:
        if obj["apiVersion"].startswith("flowcontrol."):
            del obj["metadata"]["namespace"]  # the API server ignores it; manifests/namespace removes it
    before = [obj for folder in resources for obj in render(folder)]
    assert rename(before) == sorted(objects, key=identity)


@pytest.mark.parametrize("folder", INSTALLATIONS)
def test_names_in_values_follow_with_the_transformer(folder, tmp_path) -> None:
    objects = render_text(tmp_path, overlay(folder, *ADDED, more=NAMES_IN_VALUES))
    assert mentions(objects) == []
    called = service_names(OTHER)[0]
    endpoints = the("ServiceMonitor", objects)["spec"]["endpoints"]
    assert [obj["tlsConfig"]["serverName"] for obj in endpoints] == [called]
    if any(obj["kind"] == "Certificate" for obj in objects):
        assert called in the("Certificate", objects)["spec"]["dnsNames"]
        for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
            annotations = the(kind, objects)["metadata"]["annotations"]
            assert annotations["cert-manager.io/inject-ca-from"] == f"{OTHER}/tokenguard"


@pytest.mark.parametrize("folder", INSTALLATIONS)
def test_namespaced_objects_are_all_in_it(folder, tmp_path) -> None:
    objects = render_text(tmp_path, overlay(folder, *ADDED, more=NAMES_IN_VALUES))
    assert {obj["metadata"].get("namespace") for obj in objects} == {None, OTHER}


def test_program_gets_the_namespace_from_its_pod(tmp_path) -> None:
    deployment = the("Deployment", render_text(tmp_path, overlay("manifests")))
    variables = environment_of(deployment)
    assert variables["TOKENGUARD_OWN_NAMESPACE"] == OTHER
    assert "/" not in variables["TOKENGUARD_POLICY_CONFIGMAP"] + variables["TOKENGUARD_TLS_SECRET"]


def test_own_policy_of_an_overlay_goes_along(tmp_path) -> None:
    (tmp_path / "policy.yaml").write_text("apiVersion: tokenguard/v1\nkind: TokenPolicy\n")
    generator = "{name: token-policy, namespace: tokenguard, behavior: replace, files: [policy.yaml]}"
    objects = render_text(tmp_path, overlay("manifests", more=f"configMapGenerator: [{generator}]\n"))
    assert the("ConfigMap", objects, "token-policy")["metadata"]["namespace"] == OTHER


def identity(obj):
    return obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def rename(objects):
    """Return the objects with the namespace changed wherever an object may name obj, and nothing else changed."""
    text = yaml.safe_dump_all([obj for obj in objects if not is_custom(obj)], sort_keys=False)
    text = re.sub(rf"(\bnamespace: ){DEFAULT_NAMESPACE}$", rf"\1{OTHER}", text, flags=re.MULTILINE)
    text = re.sub(rf"(- kube-system\n +- ){DEFAULT_NAMESPACE}$", rf"\1{OTHER}", text, flags=re.MULTILINE)
    text = re.sub(rf"(operator: In\n +values:\n +- ){DEFAULT_NAMESPACE}$", rf"\1{OTHER}", text, flags=re.MULTILINE)
    text = re.sub(rf"(kind: Namespace\nmetadata:\n(?:  .*\n)*  name: ){DEFAULT_NAMESPACE}$", rf"\1{OTHER}", text,
                  flags=re.MULTILINE)  # fmt: skip
    return sorted(load_all(text), key=identity)
