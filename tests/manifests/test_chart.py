"""The Helm chart: what it renders is what kustomize renders, and what each value changes."""

import json
import re
import tomllib

import pytest
import yaml

from tests.generated_chart import CHART, SOURCES, values_schema
from tests.manifests.chart import hook_objects, needs_helm, packaged, render_chart, run_helm, template
from tests.manifests.namespaces import mentions
from tests.manifests.rendering import CHECKOUT, environment_of, load_all, render, the
from webhook.core.policy.loader import default_policy, read_policy
from webhook.core.policy.model import Policy
from webhook.core.policy.serializer import policy_document
from webhook.status.webhooks import OPT_OUT_ANNOTATION

pytestmark = needs_helm
MODES = ("self-managed", "cert-manager", "by-hand")
CONFIGURATIONS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
PROBE_VARIABLE = "TOKENGUARD_PROBE_NAMESPACE"
OF_HELM = {"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart"}
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
DIGEST = "sha256:" + "0123456789abcdef" * 4


def comparable(objects):
    """Return the objects by kind and name, without the labels that Helm charts have."""
    by_key = {}
    for obj in objects:
        labels = obj["metadata"].get("labels", {})
        own = {name: value for name, value in labels.items() if name not in OF_HELM}
        metadata = {**obj["metadata"], "labels": own}
        by_key[obj["kind"], metadata["name"], metadata.get("namespace", "")] = {**obj, "metadata": metadata}
    return by_key


@pytest.mark.parametrize("mode", MODES)
def test_chart_renders_what_kustomize_renders(mode) -> None:
    rendered = comparable(render_chart(certificates={"mode": mode}))
    expected = comparable([*render(SOURCES[mode]), *render(SOURCES["probe"])])
    del expected["Namespace", "tokenguard", ""]  # Helm creates it
    assert rendered == expected


@pytest.mark.parametrize(("values", "part"), [
    (["monitoring"], "monitoring"), (["scanner"], "scanner"), (["backgroundScan"], "background-scan"),
    (["scanner", "backgroundScan"], "background-scan"),
])  # fmt: skip
def test_chart_part_renders_what_kustomize_renders(values, part) -> None:
    objects = render_chart(**{value: {"enabled": True} for value in values})
    rendered, without = comparable(objects), comparable(render_chart())
    assert len(rendered) == len(objects)
    assert {key: obj for key, obj in rendered.items() if key not in without} == comparable(render(SOURCES[part]))


@pytest.mark.parametrize("scanner", ["scanner", "background-scan"])
def test_retire_renders_its_account_and_the_scanners(scanner) -> None:
    scans = {"backgroundScan": {"enabled": scanner == "background-scan"}}
    rendered, without = comparable(render_chart(retire={"enabled": True}, **scans)), comparable(render_chart())
    expected = comparable([obj for source in (scanner, "retire") for obj in render(SOURCES[source])])
    assert {key: obj for key, obj in rendered.items() if key not in without} == expected


@pytest.mark.parametrize(("backstop", "mode", "failure_policy"), [
    ({"mode": "vap+map"}, "vap+map", "Fail"), ({"mode": "off"}, "off", "Fail"),
    ({"availabilityFirst": True}, "vap", "Ignore"),
    ({"mode": "vap+map", "availabilityFirst": True}, "vap+map", "Ignore"),
])  # fmt: skip
def test_backstop_has_its_mode_and_rights(backstop, mode, failure_policy) -> None:
    objects = render_chart(backstop=backstop)
    container = the("Deployment", objects, "tokenguard")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "TOKENGUARD_BACKSTOP", "value": mode} in container["env"]
    rendered, without = comparable(objects), comparable(render_chart())
    assert {key: obj for key, obj in rendered.items() if key not in without} == comparable(render(SOURCES["backstop"]))
    webhooks = the("ValidatingWebhookConfiguration", objects, "tokenguard")["webhooks"]
    assert {webhook["failurePolicy"] for webhook in webhooks if webhook["name"].startswith("pods.")} == {failure_policy}


def test_availability_first_is_the_same_as_the_overlay() -> None:
    rendered = comparable(render_chart(backstop={"availabilityFirst": True}))
    expected = comparable([*render("manifests/overlays/availability-first"), *render(SOURCES["probe"])])
    del expected["Namespace", "tokenguard", ""]
    for objects in (rendered, expected):
        [container] = objects["Deployment", "tokenguard", "tokenguard"]["spec"]["template"]["spec"]["containers"]
        container["env"].sort(key=lambda variable: variable["name"])
    assert rendered == expected


def test_background_scan_has_its_schedule_and_pod_settings() -> None:
    objects = render_chart(
        backgroundScan={"enabled": True, "schedule": "0 6 * * *", "maxAgeSeconds": 1234567},
        image={"registry": "r.example.com", "tag": "1", "pullSecrets": ["p"]}, nodeSelector={"a": "b"}, openshift=True,
    )  # fmt: skip
    job = the("CronJob", objects, "tokenguard-scan")["spec"]
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    assert (job["schedule"], pod["containers"][0]["image"]) == ("0 6 * * *", "r.example.com/tokenguard:1")
    assert (pod["imagePullSecrets"], pod["nodeSelector"]) == ([{"name": "p"}], {"a": "b"})
    assert "runAsUser" not in pod["securityContext"]
    assert the("ConfigMap", objects, "tokenguard-scan")["data"] == {"max-age-seconds": "1234567"}


def test_probe_is_left_out_with_its_variable() -> None:
    objects, without = render_chart(), render_chart(probe={"enabled": False})
    assert {obj["kind"] for obj in objects if obj not in without} == {
        "Namespace", "ResourceQuota", "Role", "RoleBinding", "Deployment",
    }  # fmt: skip
    variables = [environment_of(the("Deployment", rendered)) for rendered in (objects, without)]
    assert [variable.get(PROBE_VARIABLE) for variable in variables] == ["tokenguard-probe", None]


@pytest.mark.parametrize("name", SOURCES)
def test_generated_objects_are_current(name) -> None:
    text = (CHART / f"files/{name}.yaml").read_text()
    assert load_all(text) == render(SOURCES[name]), "run 'make chart'"


def test_generated_schema_is_current() -> None:
    assert json.loads((CHART / "values.schema.json").read_text()) == values_schema(), "run 'make chart'"


def test_versions_are_those_of_the_program() -> None:
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)


@pytest.mark.parametrize("values", [{}, {"monitoring": {"enabled": True}, "backgroundScan": {"enabled": True}}])
def test_lint_strict_is_clean(tmp_path, values) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    done = run_helm("lint", "--strict", str(CHART), "--values", str(tmp_path / "values.yaml"))
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_every_value_is_documented_and_has_a_type() -> None:
    values, schema = yaml.safe_load((CHART / "values.yaml").read_text()), values_schema()
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, group in values.items():
        properties = schema["properties"][name].get("properties")
        if isinstance(group, dict) and group and properties:
            assert set(group) == set(properties), name


REFUSED = {
    "unknown key": ({"replica": 3}, "'replica' not allowed"),
    "unknown key in a group": ({"image": {"name": "x"}}, "'name' not allowed"),
    "policy key": ({"policy": {"modee": "audit"}}, "'modee' not allowed"),
    "policy mode": ({"policy": {"mode": "audi"}}, "/policy/mode"),
    "policy number": ({"policy": {"tokens": {"maxExpirationSeconds": 5}}}, "/policy/tokens/maxExpirationSeconds"),
    "policy rule": ({"policy": {"rules": {"token-audiense": "warn"}}}, "'token-audiense' not allowed"),
    "policy exemption": ({"policy": {"exemptions": [{"rules": ["*"]}]}}, "missing properties"),
    "certificates": ({"certificates": {"mode": "self"}}, "/certificates/mode"),
    "webhook": ({"webhooks": {"failurePolicy": {"pods": "Fail"}}}, "'pods' not allowed"),
    "failure policy": ({"webhooks": {"failurePolicy": {"pods-validate": "fail"}}}, "/webhooks/failurePolicy"),
    "timeout": ({"webhooks": {"timeoutSeconds": 31}}, "/webhooks/timeoutSeconds"),
    "namespace": ({"webhooks": {"excludeNamespaces": ["kube_system"]}}, "/webhooks/excludeNamespaces/0"),
    "address": ({"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, "/networkPolicy/apiServer/cidrs/0"),
    "digest": ({"image": {"digest": "latest"}}, "/image/digest"),
}


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED)
def test_invalid_value_is_refused(values, message) -> None:
    done = template(**values)
    assert done.returncode == 1
    assert message in done.stderr or as_helm_3_says(message) in done.stderr


def as_helm_3_says(message: str) -> str:
    """Return what Helm 3.17 writes for a message of Helm 4."""
    if message.startswith("/"):
        return message[1:].replace("/", ".")
    key = message.removesuffix(" not allowed").strip("'")
    return "is required" if message == "missing properties" else f"property {key} is not allowed"


def test_policy_is_rendered_as_the_program_reads_it() -> None:
    values = {
        "mode": "warn",
        "rules": {"token-subpath": "off", "inject": False},
        "tokens": {"maxExpirationSeconds": 4294967296},
        "exemptions": [{"rules": ["*"], "namespaces": ["ci"], "reason": 'a: "b" {{ c }}', "until": "2027-03-31"}],
    }  # fmt: skip
    document = the("ConfigMap", render_chart(policy=values), "token-policy")["data"]["policy.yaml"]
    policy = read_policy(document.encode())
    assert isinstance(policy, Policy), policy
    shown, defaults = policy_document(policy), policy_document(default_policy())
    assert shown["rules"] == defaults["rules"] | {"token-subpath": "off", "inject": "off"}
    assert (shown["mode"], shown["tokens"]["maxExpirationSeconds"]) == ("warn", 4294967296)
    assert shown["exemptions"][0]["reason"] == values["exemptions"][0]["reason"]


def pod_of(**values):
    return the("Deployment", render_chart(**values))["spec"]["template"]["spec"]


IMAGES = {
    "default": ({}, "tokenguard:"),
    "tag": ({"tag": "1.2"}, "tokenguard:1.2"),
    "registry": ({"registry": "registry.example.com", "repository": "a/b", "tag": "1"}, "registry.example.com/a/b:1"),
    "digest": ({"registry": "registry.example.com", "tag": "1", "digest": DIGEST},
               f"registry.example.com/tokenguard@{DIGEST}"),
}  # fmt: skip


@pytest.mark.parametrize(("image", "expected"), IMAGES.values(), ids=IMAGES)
def test_image_is_the_one_of_the_values(image, expected) -> None:
    [container] = pod_of(image=image)["containers"]
    assert container["image"].startswith(expected)


def test_pod_settings_are_added() -> None:
    toleration, affinity = {"operator": "Exists"}, {"nodeAffinity": {}}
    values = {
        "image": {"pullSecrets": ["registry"], "pullPolicy": "Always"}, "extraArgs": ["--audit-level=all"],
        "extraEnv": [{"name": "A", "value": "b"}], "resources": {"limits": {"memory": "1Gi"}}, "podEvents": False,
        "nodeSelector": {"a": "b"}, "tolerations": [toleration], "affinity": affinity,
        "priorityClass": {"create": False, "name": "high"}, "podAnnotations": {"c": "d"},
        "podLabels": {"e": "f", "app.kubernetes.io/name": "other"},
    }  # fmt: skip
    objects = render_chart(**values)
    template_of = the("Deployment", objects)["spec"]["template"]
    pod, [container] = template_of["spec"], template_of["spec"]["containers"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert container["imagePullPolicy"] == "Always"
    assert container["args"] == ["serve", "--audit-level=all"]
    variables = environment_of(the("Deployment", objects))
    assert (variables["A"], variables["TOKENGUARD_POD_EVENTS"]) == ("b", "false")
    assert container["resources"] == {"limits": {"memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "160Mi"}}
    assert (pod["nodeSelector"], pod["tolerations"], pod["affinity"]) == ({"a": "b"}, [toleration], affinity)
    assert pod["priorityClassName"] == "high"
    assert "PriorityClass" not in {obj["kind"] for obj in objects}
    assert template_of["metadata"]["annotations"]["c"] == "d"
    assert template_of["metadata"]["labels"].items() >= {"e": "f", "app.kubernetes.io/name": "tokenguard"}.items()


def test_openshift_chooses_user_and_groups() -> None:
    for mode in MODES:
        context = pod_of(openshift=True, certificates={"mode": mode})["securityContext"]
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context)
        assert context["runAsNonRoot"] is True


def test_replicas_are_given_without_an_autoscaler_only() -> None:
    objects = render_chart(autoscaling={"enabled": False}, replicas=3)
    assert the("Deployment", objects)["spec"]["replicas"] == 3
    assert "HorizontalPodAutoscaler" not in {obj["kind"] for obj in objects}
    scaler = the("HorizontalPodAutoscaler", render_chart(autoscaling={"minReplicas": 3, "maxReplicas": 9}))["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 9)


def webhooks(**values):
    objects = render_chart(**values)
    return {webhook["name"]: webhook for kind in CONFIGURATIONS for webhook in the(kind, objects)["webhooks"]}


def test_excluded_namespaces_and_label_are_in_each_selector() -> None:
    plain = webhooks()
    label = {"key": "example.com/unguarded", "operator": "DoesNotExist"}
    settings = {"excludeNamespaces": ["cert-manager"], "namespaceOptOutLabel": label["key"]}
    for name, webhook in webhooks(webhooks=settings).items():
        [before] = plain[name]["namespaceSelector"]["matchExpressions"]
        expressions = webhook["namespaceSelector"]["matchExpressions"]
        if before["operator"] == "In":
            assert expressions == [before]
        else:
            assert expressions == [{**before, "values": [*before["values"], "cert-manager"]}, label]
    objects = render_chart(webhooks=settings)
    named = {the(kind, objects)["metadata"]["annotations"][OPT_OUT_ANNOTATION] for kind in CONFIGURATIONS}
    assert named == {label["key"]}


def test_failure_policy_and_timeout_are_those_of_the_values() -> None:
    plain = {name: webhook["failurePolicy"] for name, webhook in webhooks().items()}
    names = {name: name.removesuffix(".tokenguard.svc").replace(".", "-") for name in plain}
    opposite = {"Fail": "Ignore", "Ignore": "Fail"}
    changed = {names[name]: opposite[policy] for name, policy in plain.items()}
    by_name = webhooks(webhooks={"failurePolicy": changed, "timeoutSeconds": 3})
    assert {names[name]: webhook["failurePolicy"] for name, webhook in by_name.items()} == changed
    assert {webhook["timeoutSeconds"] for webhook in by_name.values()} == {3}


def test_bundle_by_hand_is_in_each_webhook() -> None:
    by_name = webhooks(certificates={"mode": "by-hand", "caBundle": CA})
    assert {re.sub(r"\s", "", webhook["clientConfig"]["caBundle"])[:8] for webhook in by_name.values()} == {"LS0tLS1C"}
    assert not any("caBundle" in webhook["clientConfig"] for webhook in webhooks().values())


def test_webhooks_are_left_out_where_they_come_later() -> None:
    kinds = {obj["kind"] for obj in render_chart(webhooks={"enabled": False})}
    assert not kinds & set(CONFIGURATIONS)
    assert "Deployment" in kinds


def test_network_policy_names_the_api_servers() -> None:
    settings = {"apiServer": {"cidrs": ["10.0.0.1/32", "fd00::1/128"], "ports": [6443]}}
    [rule] = the("NetworkPolicy", render_chart(networkPolicy=settings))["spec"]["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": cidr}} for cidr in settings["apiServer"]["cidrs"]]
    assert rule["ports"] == [{"port": 6443, "protocol": "TCP"}]


def test_monitoring_has_labels_and_parts() -> None:
    labels = {"release": "kube-prometheus-stack"}
    settings = {"enabled": True, "dashboard": False, "labels": labels}
    objects = render_chart(monitoring=settings)
    for kind in ("ServiceMonitor", "PrometheusRule"):
        assert the(kind, objects)["metadata"]["labels"].items() >= labels.items()
    assert "tokenguard-dashboard" not in {obj["metadata"]["name"] for obj in objects}


@pytest.mark.parametrize("mode", MODES)
def test_everything_follows_the_release_namespace(mode) -> None:
    parts = {"monitoring": {"enabled": True}, "backgroundScan": {"enabled": True}}
    objects = render_chart("security", certificates={"mode": mode}, **parts)
    assert mentions(objects) == []
    assert {obj["metadata"].get("namespace") for obj in objects} == {None, "security", "tokenguard-probe"}
    assert the("Namespace", objects, "tokenguard-probe")


def test_hook_rights_are_to_create_what_is_denied() -> None:
    objects = hook_objects()
    assert {obj["metadata"]["annotations"]["helm.sh/hook"] for obj in objects} == {"test"}
    rules = {obj["metadata"]["namespace"]: obj["rules"] for obj in objects if obj["kind"] == "Role"}
    assert rules == {
        "tokenguard": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}],
        "default": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}],
    }


def test_package_contains_what_the_chart_needs(tmp_path) -> None:
    archive = packaged(tmp_path)
    done = run_helm("template", "x", str(archive), "--namespace", "tokenguard")
    assert done.returncode == 0, done.stderr
    assert "kind: ValidatingWebhookConfiguration" in done.stdout
