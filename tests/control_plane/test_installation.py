"""An installation while things happen to it: certificates rotate, workers die, the API server restarts."""

import base64
import contextlib
import dataclasses
import datetime as dt
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.control_plane.installed import KINDS, Installation, as_in_a_pod, at, certs, installed, replica, settings
from tests.control_plane.plane import ControlPlane, own_plane
from tests.control_plane.pod_load import INTERVAL, pods_created
from tests.end_to_end.cluster import (
    POLICY,
    WRITE_POLICY,
    created,
    pod,
    policy_configmap,
    prepare,
    put_policy,
    reads_legacy,
    tokens,
)
from tests.manifests.rendering import render, the
from tests.serving import Server, eventually, serve
from webhook.pki.certificate import parse_certificates
from webhook.pki.generate_files import generate_files
from webhook.pki.issue import create_ca


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with own_plane(tmp_path_factory.mktemp("installation")) as running:
        running.do("create", "serviceaccount", "default", "-n", "default")
        prepare(running)
        yield running


@pytest.fixture(scope="module")
def installation(plane, tmp_path_factory):
    with installed(plane, tmp_path_factory.mktemp("replicas")) as running:
        yield running


installed_already = pytest.mark.usefixtures("installation")


@dataclass
class Handshakes:
    """Connections to the replicas one after the other, as a new API server would make them; what became of them."""

    served: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    count: int = 0

    def connect(self, bundle: str, server: Server) -> None:
        """Connect as to the Service, trusting nobody but who is in a caBundle (in base64)."""
        host, port = server.address.split(":")
        try:
            trusting = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
            with (
                socket.create_connection((host, int(port)), timeout=10) as plain,
                trusting.wrap_socket(plain, server_hostname="tokenguard.tokenguard.svc") as connection,
            ):
                shown = connection.getpeercert(binary_form=True)
        except OSError as error:
            self.failures.append(f"{server.address}: {error}")
        else:
            self.count += 1
            self.served.add(ssl.DER_cert_to_PEM_cert(shown or b""))


@contextlib.contextmanager
def handshakes(installation: Installation) -> Iterator[Handshakes]:
    """Make new connections until the end of the block, by what the configurations hold at the moment.

    The API server keeps its connections: by its requests alone nobody sees what a new one would meet.
    """
    made, over = Handshakes(), threading.Event()

    def run() -> None:
        while not over.is_set():
            for bundle in installation.bundles():
                for server in installation.replicas:
                    made.connect(bundle or "", server)
            over.wait(INTERVAL)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield made
    finally:
        over.set()
        thread.join()


def replace_workers(installation: Installation) -> None:
    for server in installation.replicas:
        before = set(server.workers)
        for worker in before:
            os.kill(worker, signal.SIGTERM)
        eventually(lambda replica=server, gone=before: len(replica.workers) == 1 and not gone & set(replica.workers))


def assert_reconnects(plane: ControlPlane, installation: Installation, name: str) -> None:
    """Have the API server connect again, and see that it can."""
    replace_workers(installation)
    with pods_created(plane, name) as loop:
        pass
    assert loop.failures == []


def settled(plane: ControlPlane, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """Return what `certs status` says once there is no problem, else None."""
    done = certs(plane, "status", *arguments)
    assert done.returncode < 2, done.stderr
    return done if done.returncode == 0 else None


def test_created_certificate_is_trusted_and_in_status(plane, installation) -> None:
    done = eventually(lambda: settled(plane, "--connect", installation.replicas[0].address))
    assert "names        tokenguard.tokenguard.svc, " in done.stdout
    assert "29 days left" in done.stdout
    assert "ValidatingWebhookConfiguration/tokenguard trusts the certificate (6 webhooks)" in done.stdout
    assert done.stdout.count(" serves the certificate") == 1
    [serving, *_] = parse_certificates(installation.secret()["tls.crt"])
    for server in installation.replicas:
        assert server.metric("tokenguard_certificate_expiry_timestamp_seconds") == serving.not_after.timestamp()


@pytest.mark.covers("failure-modes: certificate rotated")
def test_certificate_rotation_fails_no_pod(plane, installation) -> None:
    before = installation.secret()
    with pods_created(plane, "rotated") as loop, handshakes(installation) as connections:
        done = certs(plane, "rotate")
        assert done.returncode == 0, done.stderr
        eventually(lambda: len(connections.served) == 2)
    assert loop.failures + connections.failures == []
    after = installation.secret()
    assert after["tls.crt"] != before["tls.crt"]
    assert after["ca.crt"] == before["ca.crt"]
    assert len(connections.served) == 2, "the old certificate was seen, and the new one"
    assert_reconnects(plane, installation, "after-rotation")


@pytest.mark.covers("failure-modes: certificate rotated")
def test_ca_rotation_fails_no_pod(plane, installation) -> None:
    before = installation.secret()
    with pods_created(plane, "rotated-ca") as loop, handshakes(installation) as connections:
        done = certs(plane, "rotate", "--ca")
        assert done.returncode == 0, done.stderr
    assert loop.failures + connections.failures == []
    after = installation.secret()
    assert not {certificate.fingerprint for certificate in parse_certificates(before["ca.crt"])} & {
        certificate.fingerprint for certificate in parse_certificates(after["ca.crt"])
    }
    assert certs(plane, "status").returncode == 0
    assert len(connections.served) == 2, "the old certificate was seen, and the new one"
    assert_reconnects(plane, installation, "after-ca")


@pytest.mark.covers("threat-model: caBundle replaced")
def test_broken_ca_bundle_is_restored(plane, installation) -> None:
    stranger = base64.b64encode(create_ca(dt.datetime.now(dt.UTC)).certificate).decode()
    for kind in KINDS:
        patch = [{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": stranger}]
        plane.do("patch", kind, "tokenguard", "--type=json", "-p", json.dumps(patch))
    eventually(installation.is_trusted)


def test_deleted_tls_secret_is_created_again_and_trusted(plane, installation) -> None:
    plane.do("delete", "secret", "tokenguard-tls", "-n", "tokenguard")
    eventually(lambda: plane.kubectl("get", "secret", "tokenguard-tls", "-n", "tokenguard").returncode == 0)
    eventually(installation.is_trusted)
    eventually(lambda: settled(plane))
    with pods_created(plane, "remade") as loop:
        pass
    assert loop.failures == []


@installed_already
@pytest.mark.covers("failure-modes: policy replaced")
def test_policy_edits_fail_no_pod(plane) -> None:
    with pods_created(plane, "edited") as loop:
        for number in range(5):
            put_policy(plane, f"{POLICY}# edit {number}\n")
            loop.more(1)
    assert loop.failures == []


@pytest.mark.covers("failure-modes: worker killed")
def test_killed_worker_fails_at_most_the_pod_in_review(plane, installation) -> None:
    kills = 0
    with pods_created(plane, "killed") as loop:
        for server in installation.replicas:
            for worker in server.workers:
                os.kill(worker, signal.SIGKILL)
                kills += 1
                eventually(
                    lambda replica=server, gone=worker: gone not in replica.workers and len(replica.workers) == 1
                )
                loop.more(1)
    assert len(loop.failures) <= kills
    broken_off = ("connection reset", "connection refused", "EOF", "the mutating webhook did not run")
    assert [failure for failure in loop.failures if not any(why in failure for why in broken_off)] == []


@pytest.mark.covers("threat-model: patch undone")
def test_pod_without_the_mutating_webhook_is_denied_with_reason(plane, installation) -> None:
    plane.do("delete", KINDS[0], "tokenguard")
    try:
        says = "the mutating webhook did not run: check MutatingWebhookConfiguration/tokenguard"
        eventually(lambda: says in plane.kubectl("create", "-f", "-", stdin=pod("uncapped")).stderr)
        capped = pod("tokenless", automountServiceAccountToken=False)
        assert "rules inject'" in plane.kubectl("create", "-f", "-", stdin=capped).stderr, "an injection is missing"
    finally:
        restored = at(the(KINDS[0], render("manifests")), installation.replicas[0])
        plane.do("apply", "-f", "-", stdin=restored)
    eventually(installation.is_trusted)
    eventually(lambda: plane.kubectl("create", "-f", "-", stdin=pod("capped-again")).returncode == 0)
    with pods_created(plane, "patched") as loop:
        pass
    assert loop.failures == []


@installed_already
@pytest.mark.covers("failure-modes: API server unreachable")
def test_restarted_api_server_lets_no_pod_pass_unevaluated(plane) -> None:
    with pods_created(plane, "restarted") as loop:
        plane.kill()
        eventually(lambda: loop.failures)
        plane.start()
        loop.more()
    assert loop.failures
    assert [failure for failure in loop.failures if "webhook" in failure] == []


def payload(token: str) -> dict:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@installed_already
def test_tokens_for_the_kubelet_follow_the_policy(plane) -> None:
    plane.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}})
    pods = {
        name: created(plane, pod(name, namespace, nodeName="node-1"))
        for name, namespace in (("guarded", "shop"), ("unguarded", "warned"))
    }
    lives = {}
    for name, namespace in (("guarded", "shop"), ("unguarded", "warned")):
        for volume, source in tokens(pods[name]).items():
            audience = (f"--audience={source['audience']}",) if "audience" in source else ()
            uid = plane.do("get", "pod", name, "-n", namespace, "-o", "jsonpath={.metadata.uid}")
            claims = payload(plane.do(
                "create", "token", "app", "-n", namespace, f"--duration={source['expirationSeconds']}s", *audience,
                "--bound-object-kind=Pod", f"--bound-object-name={name}", f"--bound-object-uid={uid}",
                "--as=system:node:node-1", "--as-group=system:nodes", "--as-group=system:authenticated",
            ))  # fmt: skip
            lives[name, volume] = claims["exp"] - claims["iat"], claims["aud"]
    own = ["https://kubernetes.default.svc"]
    assert lives == {
        ("guarded", "kube-api-access"): (3600, own),
        ("guarded", "tokenguard-vault"): (1800, ["https://vault.example.com"]),
        ("unguarded", "kube-api-access"): (31536000, own),
    }


@installed_already
def test_replica_in_a_pod_finds_the_api_server(plane, tmp_path) -> None:
    wrap, where = as_in_a_pod(plane, tmp_path)
    environment = settings(render("manifests"))
    with serve(tmp_path / "run", "--audit-level", "all", verified=False, wrap=wrap, env=where | environment) as server:
        assert server.request("GET", "/readyz").json["status"] == "ready"
        assert "Secrets: synced" in server.log


def _time(event: dict) -> dt.datetime:
    return dt.datetime.fromisoformat(event["requestReceivedTimestamp"])


@dataclass(frozen=True)
class Right:
    """A verb on a resource, in one namespace or in all (""), for objects of one name or of any ("")."""

    verb: str
    resource: str
    namespace: str
    name: str


def used_rights(plane: ControlPlane) -> tuple[set[Right], list[dict]]:
    """Return tokenguard's requests by resource, and the refused ones, from the API server's audit log."""
    account = "system:serviceaccount:tokenguard:tokenguard"
    events = [json.loads(line) for line in plane.audit.splitlines() if account in line and line.endswith("}")]
    own = [event for event in events if event["user"]["username"] == account and "objectRef" in event]
    refused = [
        event
        for event in own
        if event.get("responseStatus", {}).get("code") == 403
        # an API server that has just started doesn't know its own rules yet
        and not any(0 <= (_time(event) - started).total_seconds() < 10 for started in plane.started)
    ]
    return {used_right(event["verb"], **event["objectRef"]) for event in own}, refused


def used_right(verb: str, *, resource: str, namespace: str = "", name: str = "", **_: str) -> Right:
    return Right(verb, resource, namespace, "" if verb == "create" else name)  # to RBAC a create has no name


def given_rights(objects: list[dict]) -> set[Right]:
    """Return what the Role and the ClusterRole among some objects give."""
    return {
        Right(verb, resource, the(kind, objects)["metadata"].get("namespace", ""), name)
        for kind in ("ClusterRole", "Role")
        for rule in the(kind, objects)["rules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }


@pytest.mark.covers("threat-model: tokenguard's account")
def test_permissions_in_the_manifests_suffice_and_are_needed(plane, installation) -> None:
    objects = render("manifests")
    reject_with_two_events(plane, installation)
    put_policy_past_the_door(plane, f"{POLICY}modee: warn\n")
    eventually(lambda: any(right.resource == "events" for right in used_rights(plane)[0]))
    put_policy(plane)
    given = given_rights(objects)
    if any(not is_needed(right, used_rights(plane)[0]) for right in given):  # this test runs alone
        assert certs(plane, "rotate", "--ca").returncode == 0
    used, refused = used_rights(plane)
    assert refused == []
    assert [right for right in given if not is_needed(right, used)] == []


def reject_with_two_events(plane: ControlPlane, installation: Installation) -> None:
    """Have a controller's pod rejected, and an Event written by one worker after the other."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-1", "uid": "1", "controller": True}
    manifest = pod("owned", "strict", container=reads_legacy("app-token"))
    manifest["metadata"]["ownerReferences"] = [owner]
    for verb in ("create", "patch"):
        assert "denied the request" in plane.kubectl("create", "-f", "-", stdin=manifest).stderr
        done = Right(verb, "events", "strict", "")
        eventually(
            lambda needed=done: any(dataclasses.replace(right, name="") == needed for right in used_rights(plane)[0])
        )
        replace_workers(installation)


@pytest.mark.usefixtures("installation")
@pytest.mark.covers("threat-model: Event flood")
def test_pod_with_a_huge_owner_name_gets_no_event(plane) -> None:
    def denied(owner: dict) -> None:
        manifest = pod("owned", "strict", container=reads_legacy("app-token"))
        manifest["metadata"]["ownerReferences"] = [{"apiVersion": "apps/v1", "controller": True, **owner}]
        _, answer = plane.ask("POST", "/api/v1/namespaces/strict/pods", manifest)
        assert "denied the request" in answer["message"]

    for number in range(10):
        huge = f"{number}".ljust(1_000_000, "a")
        denied({"kind": "ReplicaSet", "name": huge, "uid": "1"})
        denied({"kind": huge, "name": "app", "uid": "1"})
        denied({"kind": "ReplicaSet", "name": f"Not_A_Name_{number}", "uid": "1"})
    denied({"kind": "ReplicaSet", "name": "prompt", "uid": "1"})
    names = eventually(lambda: owners_of_events(plane) if "prompt" in owners_of_events(plane) else None)
    assert names - {"app-1"} == {"prompt"}


def owners_of_events(plane: ControlPlane) -> set[str]:
    events = json.loads(plane.do("get", "events", "-n", "strict", "-o", "json"))["items"]
    return {event["involvedObject"]["name"] for event in events if event["reason"] == "PodRejected"}


def is_needed(given: Right, used: set[Right]) -> bool:
    """Say whether a right was used, and with fewer namespaces or names in it would not have been enough."""
    uses = [namespace for namespace in used if (namespace.verb, namespace.resource) == (given.verb, given.resource)]
    if given.namespace:
        return any((use.namespace, use.name) == (given.namespace, given.name) for use in uses)
    if given.name:
        return any(use.name == given.name for use in uses)
    return any(use.namespace != "tokenguard" for use in uses)


def put_policy_past_the_door(plane: ControlPlane, document: str) -> None:
    """Write a policy that no webhook checks, as during an outage."""
    webhooks = json.loads(plane.do("get", KINDS[1], "tokenguard", "-o", "json"))["webhooks"]
    [(number, door)] = [(at, item) for at, item in enumerate(webhooks) if item["name"].startswith("policy.")]
    where = f"/webhooks/{number}/matchConditions"

    def put(conditions: list[dict[str, str]]) -> None:
        patch = [{"op": "replace", "path": where, "value": conditions}]
        plane.do("patch", KINDS[1], "tokenguard", "--type=json", "-p", json.dumps(patch))

    put([{"name": "nothing", "expression": "false"}])
    eventually(lambda: plane.kubectl(*WRITE_POLICY, stdin=policy_configmap(document)).returncode == 0)
    put(door["matchConditions"])
    tried = ("replace", "--dry-run=server", "-f", "-")
    eventually(lambda: plane.kubectl(*tried, stdin=policy_configmap(document)).returncode)


@installed_already
@pytest.mark.covers("threat-model: invalid policy stored")
def test_invalid_policy_creates_an_event_and_the_last_stays(plane) -> None:
    put_policy_past_the_door(plane, f"{POLICY}mod: warn\n")

    def described() -> str:
        return plane.do("describe", "configmap", "token-policy", "-n", "tokenguard")

    eventually(lambda: 'unknown key "mod"' in described())
    with pods_created(plane, "still-evaluated") as loop:
        pass
    assert loop.failures == []
    put_policy(plane)


@installed_already
def test_foreign_certificate_is_served_once_it_exists(plane, tmp_path) -> None:
    files = generate_files({}, ["127.0.0.1"], dt.datetime.now(dt.UTC), 90)
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_bytes(files[name])
    where = "own-certificate"
    with contextlib.ExitStack() as stack:
        environment = settings(render("manifests")) | {"TOKENGUARD_TLS_SECRET": f"tokenguard/{where}"}
        environment.pop("TOKENGUARD_MANAGE_CERTS")
        log = tmp_path / "run" / "log"

        def make_it_when_it_is_missed() -> None:
            eventually(lambda: log.exists() and "does not exist: create it" in log.read_text())
            pair = (f"--cert={tmp_path}/tls.crt", f"--key={tmp_path}/tls.key")
            plane.do("create", "secret", "tls", where, "-n", "tokenguard", *pair)

        thread = threading.Thread(target=make_it_when_it_is_missed)
        thread.start()
        stack.callback(thread.join)
        server = stack.enter_context(replica(plane, tmp_path / "run", environment))
        shown = ssl.get_server_certificate(tuple(server.address.split(":")))
        assert parse_certificates(shown.encode())[0].fingerprint == parse_certificates(files["tls.crt"])[0].fingerprint
