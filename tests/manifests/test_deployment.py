"""The Deployment and what selects its pods: they agree with each other, with the program and with 'restricted'."""

from pathlib import Path

import pytest

from tests.manifests.rendering import INSTALLATIONS, environment_of, render, the
from webhook.cli.serve import command as serve
from webhook.server.gunicorn_app import GRACEFUL_TIMEOUT
from webhook.server.options import ServeOptions

everywhere = pytest.mark.parametrize("folder", INSTALLATIONS)
MOUNTED_AT = "/var/run/secrets/kubernetes.io/serviceaccount"


def pod(folder):
    return the("Deployment", render(folder))["spec"]["template"]


def container(folder):
    [only] = pod(folder)["spec"]["containers"]
    return only


def environment(folder):
    return environment_of(the("Deployment", render(folder)))


@everywhere
def test_every_variable_is_known_to_serve(folder) -> None:
    variables = {f"TOKENGUARD_{parameter.name.upper()}" for parameter in serve.params}
    given = {name for name in environment(folder) if name.startswith("TOKENGUARD_")}
    assert given
    assert given <= variables


@everywhere
def test_variables_are_valid_options_of_serve(folder, monkeypatch) -> None:
    assert container(folder)["args"] == [serve.name]
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    options = ServeOptions(**serve.make_context("serve", []).params)
    configmap = the("ConfigMap", render(folder), "token-policy")["metadata"]
    assert options.own_namespace == configmap["namespace"] == "tokenguard"
    assert options.policy_configmap == configmap["name"]
    [port] = container(folder)["ports"]
    assert options.bind[1] == port["containerPort"]


@everywhere
def test_files_named_in_variables_are_mounted(folder) -> None:
    mounts = {mount["mountPath"] for mount in container(folder)["volumeMounts"]}
    given = [Path(value) for name, value in environment(folder).items() if value.startswith("/") and name != "TMPDIR"]
    assert {str(path.parent) for path in given} <= mounts
    assert environment(folder)["TMPDIR"] in mounts


@everywhere
@pytest.mark.covers("threat-model: container escape")
def test_pods_meet_pod_security_restricted(folder) -> None:
    spec = pod(folder)["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(folder)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not any("hostPort" in port for port in container(folder)["ports"])
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"emptyDir", "projected", "secret", "configMap"}


@everywhere
@pytest.mark.covers("threat-model: tokenguard's account")
def test_pods_have_one_token_of_an_hour(folder) -> None:
    spec = pod(folder)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert the("ServiceAccount", render(folder))["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == the("ServiceAccount", render(folder))["metadata"]["name"]
    [volume] = [volume for volume in spec["volumes"] if "projected" in volume]
    assert not volume["name"].startswith("kube-api-access-")
    [token] = [
        source["serviceAccountToken"] for source in volume["projected"]["sources"] if "serviceAccountToken" in source
    ]
    assert token == {"path": "token", "expirationSeconds": 3600}
    assert {"name": volume["name"], "mountPath": MOUNTED_AT, "readOnly": True} in container(folder)["volumeMounts"]


@everywhere
def test_selectors_of_other_objects_match_the_pods(folder) -> None:
    objects = render(folder)
    labels = pod(folder)["metadata"]["labels"]
    deployment = the("Deployment", objects)
    selectors = [
        the("Service", objects)["spec"]["selector"],
        the("PodDisruptionBudget", objects)["spec"]["selector"]["matchLabels"],
        the("NetworkPolicy", objects)["spec"]["podSelector"]["matchLabels"],
        deployment["spec"]["selector"]["matchLabels"],
        *(
            constraint["labelSelector"]["matchLabels"]
            for constraint in pod(folder)["spec"]["topologySpreadConstraints"]
        ),
    ]
    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    scaler = the("HorizontalPodAutoscaler", objects)["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaler["minReplicas"] == 2
    assert "replicas" not in deployment["spec"], "the autoscaler's alone"
    assert pod(folder)["spec"]["priorityClassName"] == the("PriorityClass", objects)["metadata"]["name"]


@everywhere
def test_service_probes_and_network_policy_use_the_served_port(folder) -> None:
    [port] = container(folder)["ports"]
    [service] = the("Service", render(folder))["spec"]["ports"]
    [ingress] = the("NetworkPolicy", render(folder))["spec"]["ingress"]
    assert service["targetPort"] == port["name"]
    assert [port["port"] for port in ingress["ports"]] == [port["containerPort"]]
    probes = {name: container(folder)[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz",
    }  # fmt: skip


@everywhere
def test_termination_grace_period_covers_reviews_in_flight(folder) -> None:
    waits = container(folder)["lifecycle"]["preStop"]["sleep"]["seconds"]
    webhooks = the("ValidatingWebhookConfiguration", render(folder))["webhooks"]
    assert pod(folder)["spec"]["terminationGracePeriodSeconds"] > waits + GRACEFUL_TIMEOUT
    assert max(webhook["timeoutSeconds"] for webhook in webhooks) < GRACEFUL_TIMEOUT


@everywhere
def test_rolling_update_keeps_all_replicas(folder) -> None:
    assert the("Deployment", render(folder))["spec"]["strategy"]["rollingUpdate"] == {
        "maxUnavailable": 0, "maxSurge": 1,
    }  # fmt: skip
