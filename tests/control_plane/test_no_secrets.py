"""The overlay in which the serving pods have no right to Secrets: what they know comes from a list in a ConfigMap."""

import json

import pytest

from tests.commands import run_command
from tests.control_plane.installed import settings
from tests.control_plane.live import account_kubeconfig, is_allowed, is_denied
from tests.control_plane.plane import own_plane
from tests.end_to_end.cluster import POLICY, namespace_with, put_policy, secret
from tests.manifests.rendering import is_custom, render, the
from tests.serving import eventually, serve

OVERLAY = "manifests/overlays/no-secrets"
ACCOUNT, WRITER = (f"system:serviceaccount:tokenguard:{name}" for name in ("tokenguard", "tokenguard-objects"))


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with own_plane(tmp_path_factory.mktemp("no-secrets-plane")) as running:
        running.create(*namespace_with("shop", "app"), secret("first", "shop"))
        objects = [obj for obj in render(OVERLAY) if not is_custom(obj) and "Webhook" not in obj["kind"]]
        running.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": objects})
        put_policy(running, POLICY)
        yield running


def write_list(plane, folder):
    """Run what the CronJob runs, as its account."""
    container = the("CronJob", render(OVERLAY), "tokenguard-objects")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = container["containers"]
    kubeconfig = account_kubeconfig(plane, folder, account="tokenguard-objects")
    return run_command(*container["args"], "--kubeconfig", str(kubeconfig))


def written(plane):
    return json.loads(plane.do("get", "configmap", "tokenguard-objects", "-n", "tokenguard", "-o", "json"))["data"]


@pytest.mark.parametrize("verb", ["get", "list", "watch", "create", "update", "patch", "delete"])
def test_serving_account_has_no_right_to_secrets(plane, verb) -> None:
    for scope in (("-n", "tokenguard"), ("-A",)):
        assert plane.kubectl("auth", "can-i", verb, "secrets", f"--as={ACCOUNT}", *scope).stdout == "no\n"


def test_server_evaluates_with_the_list_and_follows_it(plane, tmp_path) -> None:
    done = write_list(plane, tmp_path / "writer")
    assert done.returncode == 0, done.stderr
    mounted = tmp_path / "objects.json"
    mounted.write_text(written(plane)["objects.json"])
    environment = settings(render(OVERLAY)) | {"TOKENGUARD_OBJECTS": str(mounted)}
    tls = {name: environment.pop(name) for name in ("TOKENGUARD_TLS_CERT", "TOKENGUARD_TLS_KEY")}
    assert all(tls.values())
    kubeconfig = account_kubeconfig(plane, tmp_path / "server")
    with serve(tmp_path / "run", "--kubeconfig", str(kubeconfig), environment=environment) as server:
        assert is_denied(server, "shop", "first")
        assert is_allowed(server, "shop", "later")
        plane.create(secret("later", "shop"))
        assert write_list(plane, tmp_path / "writer").returncode == 0
        mounted.write_text(written(plane)["objects.json"])
        eventually(lambda: is_denied(server, "shop", "later"))
    events = [json.loads(line) for line in plane.audit.splitlines()]
    assert "secrets" not in {resource for _, resource in requests_of(events, ACCOUNT)}
    expected = {("list", "namespaces"), ("list", "secrets"), ("patch", "configmaps")}
    assert requests_of(events, WRITER) == expected


def requests_of(events, user):
    own = [event for event in events if event["user"]["username"] == user and "objectRef" in event]
    return {(event["verb"], event["objectRef"]["resource"]) for event in own}


def test_list_has_no_content_of_secrets_and_survives_an_apply(plane, tmp_path) -> None:
    assert write_list(plane, tmp_path / "writer").returncode == 0
    items = json.loads(written(plane)["objects.json"])["items"]
    secrets = [item for item in items if item["kind"] == "Secret"]
    assert secrets
    assert all(set(item) == {"apiVersion", "kind", "type", "metadata"} for item in secrets)
    plane.do("apply", "-f", "-", stdin=the("ConfigMap", render(OVERLAY), "tokenguard-objects"))
    assert "objects.json" in written(plane)


def test_list_is_printed_without_a_config_map(plane, tmp_path) -> None:
    kubeconfig = account_kubeconfig(plane, tmp_path / "writer", account="tokenguard-objects")
    done = run_command("objects", "--kubeconfig", str(kubeconfig))
    assert {item["kind"] for item in json.loads(done.stdout)["items"]} == {"Namespace", "Secret"}
