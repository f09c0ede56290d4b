"""The component that scans the cluster every hour: its rights, its pod, and where its status goes."""

from pathlib import Path

import pytest

from tests.manifests.namespaces import mentions
from tests.manifests.rendering import INSTALLATIONS, environment_of, render, render_text, the
from webhook.cli.scan import command as scan
from webhook.scan.report_api import REPORT_APIS, REPORT_NAME
from webhook.scan.status import CONFIGMAP, KEY, MAX_AGE_KEY

COMPONENT = "manifests/components/background-scan"
ADDED = f"components: [../tokenguard/{COMPONENT}]\n"


def pod_template(objects):
    return the("CronJob", objects, "tokenguard-scan")["spec"]["jobTemplate"]["spec"]["template"]


def with_scan(folder: Path, installation: str = "manifests", more: str = ""):
    return render_text(folder, f"resources: [../tokenguard/{installation}]\n{ADDED}{more}")


@pytest.mark.covers("threat-model: tokenguard's account")
def test_scanner_may_write_its_reports_and_status_only() -> None:
    objects = render(COMPONENT)
    before = [obj for obj in render("manifests/scanner") if obj["kind"] in ("ClusterRole", "Role")]
    rules = [
        rule for obj in objects if obj["kind"] in ("ClusterRole", "Role") and obj not in before for rule in obj["rules"]
    ]
    for api in REPORT_APIS:
        kinds = [f"{kind.lower()}s" for kind in (api.kind, api.cluster_kind)]
        of_group = [rule for rule in rules if rule["apiGroups"] == [api.group]]
        assert of_group == [
            {"apiGroups": [api.group], "resources": kinds, "resourceNames": [REPORT_NAME],
             "verbs": ["list", "update", "delete"]},
            {"apiGroups": [api.group], "resources": kinds, "verbs": ["create"]},
        ]  # fmt: skip
    assert [rule for rule in rules if rule["apiGroups"] == [""]] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CONFIGMAP], "verbs": ["patch"]}
    ]
    assert len(rules) == 5
    bindings = [obj for obj in objects if obj["kind"].endswith("Binding")]
    assert {subject["name"] for binding in bindings for subject in binding["subjects"]} == {"tokenguard-scanner"}


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_component_changes_nothing_of_an_installation(installation, tmp_path) -> None:
    objects = with_scan(tmp_path, installation)
    added = render(COMPONENT)
    assert [obj for obj in objects if obj not in added] == render(installation)
    assert [obj for obj in added if obj not in objects] == []


def test_job_runs_scan_with_its_options_and_account() -> None:
    objects = render(COMPONENT)
    spec = pod_template(objects)["spec"]
    [container] = spec["containers"]
    name, *arguments = container["args"]
    options = scan.make_context(name, arguments).params
    assert (name, options["output"], options["write_reports"]) == ("scan", "policyreport", True)
    assert options["status_configmap"] == the("ConfigMap", objects, CONFIGMAP)["metadata"]["name"]
    assert spec["serviceAccountName"] == the("ServiceAccount", objects, "tokenguard-scanner")["metadata"]["name"]


@pytest.mark.covers("threat-model: container escape")
def test_job_pods_are_restricted_and_have_one_token() -> None:
    spec = pod_template(render(COMPONENT))["spec"]
    [container] = spec["containers"]
    serving = the("Deployment", render("manifests"))["spec"]["template"]["spec"]
    assert container["securityContext"] == serving["containers"][0]["securityContext"]
    assert {key: value for key, value in serving["securityContext"].items() if key != "fsGroup"} == (
        spec["securityContext"]
    )
    assert spec["automountServiceAccountToken"] is False
    tokens = [
        source["serviceAccountToken"]
        for volume in spec["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        if "serviceAccountToken" in source
    ]
    assert [token["expirationSeconds"] <= 3600 for token in tokens] == [True]


def test_job_pods_are_no_replicas(tmp_path) -> None:
    objects = with_scan(tmp_path)
    labels = pod_template(objects)["metadata"]["labels"]
    selectors = [
        the("Service", objects)["spec"]["selector"],
        the("Deployment", objects)["spec"]["selector"]["matchLabels"],
        the("PodDisruptionBudget", objects)["spec"]["selector"]["matchLabels"],
    ]
    assert not any(selector.items() <= labels.items() for selector in selectors)


def test_image_is_the_one_of_the_installation(tmp_path) -> None:
    images = "images: [{name: tokenguard, newName: registry.example.com/tokenguard, newTag: 1.2.3}]\n"
    objects = with_scan(tmp_path, more=images)
    specs = (the("Deployment", objects)["spec"]["template"]["spec"], pod_template(objects)["spec"])
    assert {spec["containers"][0]["image"] for spec in specs} == {"registry.example.com/tokenguard:1.2.3"}
    defaults = (
        the("Deployment", render("manifests"))["spec"]["template"]["spec"],
        pod_template(render(COMPONENT))["spec"],
    )
    assert len({spec["containers"][0]["image"] for spec in defaults}) == 1


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_serving_pods_mount_the_status_if_there_is_one(installation) -> None:
    deployment = the("Deployment", render(installation))
    spec = deployment["spec"]["template"]["spec"]
    [volume] = [volume for volume in spec["volumes"] if volume.get("configMap", {}).get("name") == CONFIGMAP]
    [mount] = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == volume["name"]]
    assert volume["configMap"] == {"name": CONFIGMAP, "optional": True}
    assert environment_of(deployment)["TOKENGUARD_SCAN_STATUS"] == f"{mount['mountPath']}/{KEY}"
    assert "subPath" not in mount


def test_status_is_left_alone_by_an_apply() -> None:
    data = the("ConfigMap", render(COMPONENT), CONFIGMAP)["data"]
    assert set(data) == {MAX_AGE_KEY}
    assert int(data[MAX_AGE_KEY]) >= 2 * 3600


def test_everything_follows_the_namespace(tmp_path) -> None:
    objects = with_scan(tmp_path, more="namespace: security\ntransformers: [../tokenguard/manifests/namespace]\n")
    assert mentions(objects) == []
    assert {obj["metadata"].get("namespace") for obj in objects} == {None, "security"}
