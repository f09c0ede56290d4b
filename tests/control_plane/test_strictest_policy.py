"""The strictest policy that can be written: the cluster's own business goes on under it, and nobody else's does.

Nodes and the accounts of kube-system are let pass twice, each time by itself: the API server doesn't ask about them,
and tokenguard, if called, allows them.
"""

import json

import pytest
import yaml

from tests.control_plane.installed import installed
from tests.control_plane.plane import own_plane
from tests.end_to_end.cluster import pod, prepare, put_policy, secret, token_volume, uid_of
from tests.serving import eventually
from webhook.core.policy.model import Action
from webhook.core.rules import RULES
from webhook.tokens.claims import parse_token

NODE = ("--as=system:node:node-1", "--as-group=system:nodes", "--as-group=system:authenticated")
KUBE_SYSTEM = ("--as=system:serviceaccount:kube-system:operator", "--as-group=system:masters")
TOKENS = "tokens.validate.tokenguard.svc"
STRICTEST = yaml.safe_dump({
    "apiVersion": "tokenguard/v1",
    "kind": "TokenPolicy",
    "mode": "enforce",
    "rules": {rule.name: str(Action.REJECT if Action.REJECT in rule.actions else rule.actions[0]) for rule in RULES},
    "tokens": {
        "maxExpirationSeconds": 600,
        "maxRequestExpirationSeconds": 600,
        "audiences": {"required": True, "allowed": ["nobody"]},
    },
    "apiServerToken": {"expiration": "cap", "audiences": ["nobody"]},
})  # fmt: skip


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """Return an installation with that policy in force, and a pod on a node from before."""
    folder = tmp_path_factory.mktemp("strictest")
    with own_plane(folder) as plane:
        plane.do("create", "serviceaccount", "default", "-n", "default")
        prepare(plane)
        plane.do("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}})
        vault = token_volume("vault", audience="https://vault.example.com", expirationSeconds=86400)
        plane.do("create", "-f", "-", stdin=pod("on-node", nodeName="node-1", volumes=[vault]))
        with installed(plane, folder / "tokenguard", replicas=1) as running:
            put_policy(plane, STRICTEST)
            eventually(lambda: "exceeding the maximum 600s" in plane.kubectl(*by_hand("--duration=601s")).stderr)
            yield running


def by_hand(*flags: str) -> tuple[str, ...]:
    return ("create", "token", "app", "-n", "shop", *flags)


def request(plane, *audiences: str, seconds: int = 3607) -> dict:
    """Return the TokenRequest that the kubelet makes for a pod's volume."""
    uid = uid_of(plane, "pod", "on-node", "shop")
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "on-node", "uid": uid}
    spec = {"audiences": list(audiences), "expirationSeconds": seconds, "boundObjectRef": bound}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}


def ask(plane, request: dict, *flags: str):
    path = "/api/v1/namespaces/shop/serviceaccounts/app/token"
    return plane.kubectl("create", "--raw", path, "-f", "-", *flags, stdin=request)


def token_of(done) -> str:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["status"]["token"]


def recorded_requests(installation) -> list[dict]:
    """Return what tokenguard wrote of TokenRequests for pods on nodes and of those of kube-system's accounts."""
    [server] = installation.replicas
    return [
        line
        for line in server.audit
        if line["resource"] == "serviceaccounts/token"
        and line["user"].startswith(("system:node:node-1", "system:serviceaccount:kube-system:"))
    ]


def lets_the_cluster_run(plane) -> list[str]:
    """Ask for all that a node and kube-system's accounts ask for, and return the tokens that they are given."""
    own = token_of(ask(plane, request(plane), *NODE))
    vault = token_of(ask(plane, request(plane, "https://vault.example.com", seconds=86400), *NODE))
    by_controller = plane.do(*by_hand("--duration=48h", *KUBE_SYSTEM)).strip()
    assert [parse_token(token.encode()).lifetime for token in (own, vault, by_controller)] == [
        31_536_000,
        86400,
        172800,
    ]
    return [own, vault, by_controller]


def test_token_requests_of_nodes_and_kube_system_are_not_sent(installation) -> None:
    lets_the_cluster_run(installation.plane)
    assert recorded_requests(installation) == []


def test_same_token_requests_of_others_are_refused(installation) -> None:
    for audiences in ((), ("https://vault.example.com",)):
        done = ask(installation.plane, request(installation.plane, *audiences))
        assert done.returncode == 1
        assert "token-request-expiration: " in done.stderr
        assert "token-request-audience: " in done.stderr
    done = installation.plane.kubectl(*by_hand())
    assert "token-request-binding: " in done.stderr


@pytest.mark.covers("threat-model: forged mirror pod")
def test_user_with_a_node_name_without_the_group_is_refused(installation) -> None:
    flags = ("--as=system:node:node-2", "--as-group=system:masters", "--as-group=system:authenticated")
    assert "token-request-expiration: " in ask(installation.plane, request(installation.plane), *flags).stderr


def test_kube_system_is_not_evaluated(installation) -> None:
    plane = installation.plane
    plane.do("create", "serviceaccount", "machinery", "-n", "kube-system")
    plane.do("create", "token", "machinery", "-n", "kube-system", "--duration=48h")
    plane.do("create", "-f", "-", stdin=secret("machinery", "kube-system", account="machinery"))


def test_token_requests_that_are_sent_pass_and_leave_no_token(installation) -> None:
    plane = installation.plane
    configuration = json.loads(plane.do("get", "validatingwebhookconfiguration", "tokenguard", "-o", "json"))
    [number] = [number for number, webhook in enumerate(configuration["webhooks"]) if webhook["name"] == TOKENS]
    patch = [{"op": "remove", "path": f"/webhooks/{number}/matchConditions"}]
    plane.do("patch", "validatingwebhookconfiguration", "tokenguard", "--type=json", "-p", json.dumps(patch))
    eventually(lambda: ask(plane, request(plane), *NODE).returncode == 0 and recorded_requests(installation))
    given = lets_the_cluster_run(plane)
    assert {line["note"] for line in recorded_requests(installation)} == {
        "the kubelet requests a pod's token",
        "a ServiceAccount of kube-system requests a token",
    }
    [server] = installation.replicas
    output = server.log + json.dumps(server.audit)
    assert not any(part in output for token in given for part in token.split("."))
