"""A control plane with 200 legacy Secrets of all kinds, most of them old and unused, and tokenguard in front of it."""

import base64
import contextlib
import datetime as dt
import http.client
import json
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import run_command
from tests.control_plane.crowd import Crowd
from tests.control_plane.installed import installed
from tests.control_plane.live import account_kubeconfig
from tests.control_plane.plane import ControlPlane, own_plane
from tests.end_to_end.cluster import LEGACY, Object, filled, namespace_with, pod, put_policy, reads_legacy, secret
from tests.manifests.rendering import render
from tests.serving import eventually

RETIRE = "system:serviceaccount:tokenguard:tokenguard-retire"
TEAMS = ("alpha", "beta", "gamma", "delta", "epsilon")
PER_TEAM = 40
SHOP = ("backup", "ci", "report", "web")
COUNT = len(TEAMS) * PER_TEAM + len(SHOP)
OLD = "2026-01-05T08:00:00Z"
POLICY = f"""\
apiVersion: tokenguard/v1
kind: TokenPolicy
exemptions:
- rules: [legacy-token-secret]
  users: ["{RETIRE}"]
  reason: restores legacy tokens that are missed
  until: never
"""
CREATED = {
    "manager": "kubectl-create", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "time": OLD,
    "fieldsV1": {"f:type": {}, "f:metadata": {"f:annotations": {"f:kubernetes.io/service-account.name": {}}}},
}  # fmt: skip
"""Without an entry the API server would not record who changes which field."""
AUDIT = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [
    {"level": "RequestResponse", "resources": [{"group": "", "resources": ["secrets"]}]},
    {"level": "Metadata"},
]}  # fmt: skip


@dataclass
class Retiring:
    """The control plane, and the kubeconfig of the account that retires tokens."""

    plane: ControlPlane
    kubeconfig: Path

    def legacy(self, *arguments: str, status: int = 0) -> str:
        """Run `tokenguard legacy` as that account, and return what it prints."""
        done = run_command("legacy", *arguments, "--kubeconfig", str(self.kubeconfig))
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def secrets(self, *arguments: str, status: int = 1) -> dict[str, Any]:
        """Return what `legacy list` knows of each Secret, by namespace and name."""
        report = json.loads(self.legacy("list", "-o", "json", *arguments, status=status))
        return {f"{item['namespace']}/{item['name']}": item for item in report["secrets"]}

    def metadata(self, title: str) -> Object:
        namespace, _, name = title.partition("/")
        status, secret = self.plane.ask("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        assert status == 200
        return secret["metadata"]

    def token(self, title: str) -> str:
        namespace, _, name = title.partition("/")
        return filled(self.plane, name, namespace)

    def use(self, token: str, client: str = "backup/1.0") -> int:
        """Send a request with a token, and return the status: 401 where it isn't valid."""
        trust = ssl.create_default_context(cafile=str(self.plane.folder / "ca.crt"))
        connection = http.client.HTTPSConnection(self.plane.url.removeprefix("https://"), context=trust, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/apis", headers={"Authorization": f"Bearer {token}", "User-Agent": client})
            return connection.getresponse().status

    def put_back(self, days: int, *titles: str) -> None:
        """Have disabled Secrets look as if they were disabled so many days before."""
        at = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
        items = []
        for title in titles:
            old = self.metadata(title)
            record = {key: value for key, value in old["annotations"].items() if key.startswith("tokenguard/")}
            record["tokenguard/disabled-at"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
            labels = {"kubernetes.io/legacy-token-invalid-since": at.date().isoformat()}
            meta = {"name": old["name"], "namespace": old["namespace"], "labels": labels, "annotations": record}
            items.append({"apiVersion": "v1", "kind": "Secret", "metadata": meta})
        manager = ("--server-side", "--field-manager=tokenguard-legacy", "--force-conflicts")
        self.plane.do("apply", *manager, "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": items})

    def requested(self) -> Iterator[Object]:
        """Yield what the account has requested about Secrets, as the API server's audit log has it."""
        for line in self.plane.audit.splitlines():
            event = json.loads(line)
            of_secrets = event.get("objectRef", {}).get("resource") == "secrets"
            if of_secrets and event["user"].get("username") == RETIRE and event["stage"] == "ResponseComplete":
                yield event


def write_secrets(plane: ControlPlane, secrets: list[Object]) -> None:
    """Write Secrets into etcd as if they were made long ago: the API server lets nobody say so, and takes longer."""
    for item in secrets:  # one by one: those of one transaction would all be the same version of the Secrets
        made = {"uid": str(uuid.uuid4()), "creationTimestamp": OLD, "managedFields": [CREATED]}
        meta = {**item["metadata"], **made}
        key = f"/registry/secrets/{meta['namespace']}/{meta['name']}"
        encoded = [base64.b64encode(part.encode()).decode() for part in (key, json.dumps({**item, "metadata": meta}))]
        plane.ask_etcd("put", dict(zip(("key", "value"), encoded, strict=True)))


def fill(plane: ControlPlane) -> None:
    """Create 200 legacy Secrets in teams, and those of the page's example in the namespace shop.

    In each team there are two accounts with Secrets, one of which lists some, so that Kubernetes takes them for
    auto-generated; and a pod and a template that refer to one each.
    """
    names = [f"robot-{number:02}-token" for number in range(PER_TEAM)]
    namespaces, accounts, workloads = [], [], []
    secrets = [secret(f"{name}-token", "shop", name) for name in SHOP]
    for team in TEAMS:
        namespace, robot, deployer = namespace_with(team, "robot", "deployer")
        namespaces.append(namespace)
        lists = {"secrets": [{"name": name} for name in names[30:]]}
        accounts += [{**robot, **lists}, deployer]
        secrets += [secret(name, team, "robot" if number % 4 else "deployer") for number, name in enumerate(names)]
        workloads += [
            deployment(team, names[2]),
            pod("uses-one", team, "robot", container=reads_legacy(names[1])),
        ]
    shop, *shop_accounts = namespace_with("shop", *SHOP)
    workloads.append(pod("web", "shop", "web", container=reads_legacy("web-token")))
    with contextlib.closing(Crowd(plane)) as crowd:
        for objects in ([*namespaces, shop], [*accounts, *shop_accounts], workloads):
            crowd.make_all(objects)
    write_secrets(plane, secrets)
    admin = ("--clusterrole=cluster-admin", "--serviceaccount=alpha:deployer")
    plane.do("create", "clusterrolebinding", "deployer", *admin)
    plane.do("create", "rolebinding", "backup", "-n", "shop", "--clusterrole=admin", "--serviceaccount=shop:backup")
    for namespace in (*TEAMS, "shop"):
        eventually(lambda: all_filled(plane, namespace))  # noqa: B023
    tracking = "kube-apiserver-legacy-service-account-token-tracking"
    since = json.dumps({"data": {"since": "2026-01-01"}})
    plane.do("patch", "configmap", tracking, "-n", "kube-system", "--type=merge", "-p", since)


def all_filled(plane: ControlPlane, namespace: str) -> bool:
    _, secrets = plane.ask("GET", f"/api/v1/namespaces/{namespace}/secrets")
    return all("token" in item.get("data", {}) for item in secrets["items"] if item["type"] == LEGACY)


def deployment(namespace: str, name: str) -> Object:
    labels = {"app": "idle"}
    volume = {"name": "t", "secret": {"secretName": name}}
    spec = {"containers": [{"name": "app", "image": "registry.k8s.io/pause:3.10"}], "volumes": [volume]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    meta = {"name": "idle", "namespace": namespace}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


@contextlib.contextmanager
def retiring(folder: Path) -> Iterator[Retiring]:
    """Run it until the end of the block."""
    (folder / "audit.yaml").write_text(yaml.safe_dump(AUDIT))
    with own_plane(folder, f"--audit-policy-file={folder}/audit.yaml") as plane:
        if not plane.has_controllers:
            pytest.skip("needs kube-controller-manager")
        plane.start_controllers()
        eventually(lambda: plane.kubectl("get", "serviceaccount", "default", "-n", "default").returncode == 0)
        fill(plane)
        with installed(plane, folder / "tokenguard", replicas=1):
            put_policy(plane, POLICY)
            rights = [*render("manifests/scanner"), *render("manifests/retire")]
            plane.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": rights})
            yield Retiring(plane, account_kubeconfig(plane, folder / "retire", account="tokenguard-retire"))
