"""tokenguard against a live API server: what the tests of the live state have in common."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.control_plane.plane import ControlPlane
from tests.recorded_reviews import recorded
from tests.serving import Server, serve

NAMESPACE = "tokenguard"
WHERE = f"{NAMESPACE}/token-policy"
POLICY = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
WARN = f"{POLICY}mode: warn\n"
BAD = f"{POLICY}modee: warn\ntokens: {{maxExpirationSeconds: 5}}\n"
BY_LABEL = f"""{POLICY}
overrides:
- namespaceLabels: {{trust: high}}
  rules: {{legacy-token-reference: audit}}
"""
READS_TOKEN = json.loads(recorded("pod-legacy-env.pods", "validate"))


def role(kind: str, name: str, rules: list[dict[str, Any]], namespace: str | None = None) -> list[dict[str, Any]]:
    """Return a Role or ClusterRole and its binding to the ServiceAccount that tokenguard runs as."""
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    api = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": "tokenguard", "namespace": NAMESPACE}
    return [
        {"apiVersion": f"{api}/v1", "kind": kind, "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": f"{kind}Binding",
            "metadata": meta,
            "roleRef": {"apiGroup": api, "kind": kind, "name": name},
            "subjects": [subject],
        },
    ]


NAMES = ["token-policy", "absent"]
OBJECTS = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tokenguard", "namespace": NAMESPACE}},
    *role("ClusterRole", "tokenguard", [
        {"apiGroups": [""], "resources": ["secrets", "namespaces"], "verbs": ["list", "watch"]},
    ]),
    *role("Role", "tokenguard", [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": NAMES, "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ], NAMESPACE),
]  # fmt: skip
"""All that tokenguard may do, and no more."""


def install(plane: ControlPlane) -> None:
    """Make the namespace, the account and its rights."""
    plane.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": OBJECTS})


def put_policy(plane: ControlPlane, document: str, **data: str) -> None:
    """Write the ConfigMap."""
    meta = {"name": "token-policy", "namespace": NAMESPACE}
    held = {"policy.yaml": document, **data}
    plane.do("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": held})


def put_secret(plane: ControlPlane, name: str, namespace: str, token: str = "made-up") -> None:
    """Make a legacy Secret, token and all, of account `app`."""
    meta = {"name": name, "namespace": namespace, "annotations": {"kubernetes.io/service-account.name": "app"}}
    kind = "kubernetes.io/service-account-token"
    secret = {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": meta, "stringData": {"token": token}}
    plane.do("create", "-f", "-", stdin=secret)


def reads(namespace: str, secret: str) -> bytes:
    """Return a review of a pod that reads this Secret, as a real API server sent one."""
    review = json.loads(json.dumps(READS_TOKEN).replace(READS_TOKEN["request"]["namespace"], namespace))
    for container in review["request"]["object"]["spec"]["containers"]:
        container["env"] = [{"name": "T", "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}}]
        container.pop("envFrom", None)
    return json.dumps(review).encode()


def is_denied(server: Server, namespace: str, secret: str) -> bool:
    """Say whether all of several connections, which spread over the workers, get a denial for the pod."""
    body = reads(namespace, secret)
    return all("legacy-token-reference" in denial_message(server, body) for _ in range(8))


def is_allowed(server: Server, namespace: str, secret: str) -> bool:
    """Say whether none of them is."""
    body = reads(namespace, secret)
    return not any("legacy-token-reference" in denial_message(server, body) for _ in range(8))


def denial_message(server: Server, body: bytes) -> str:
    """Return what a denial says; empty for what is allowed."""
    response = server.review("/validate", body)
    return "" if response["allowed"] else response["status"]["message"]


def account_kubeconfig(
    plane: ControlPlane, folder: Path, *, token_file: bool = False, account: str = "tokenguard",
    namespace: str = NAMESPACE,
) -> Path:  # fmt: skip
    """Write a kubeconfig for one of its namespace's ServiceAccounts, with the token in it or in a file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((plane.folder / "kubeconfig").read_text())
    (folder / "token").write_text(plane.do("create", "token", account, "-n", namespace).strip())
    user = {"tokenFile": str(folder / "token")} if token_file else {"token": (folder / "token").read_text()}
    config["users"][0]["user"] = user
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    return folder / "kubeconfig"


@contextlib.contextmanager
def live(plane: ControlPlane, folder: Path, *flags: str, ready: bool = True) -> Iterator[Server]:
    """Run tokenguard as its own ServiceAccount."""
    kubeconfig = account_kubeconfig(plane, folder)
    where = () if "--policy-configmap" in flags else ("--policy-configmap", WHERE)
    with serve(folder, "--kubeconfig", str(kubeconfig), *where, *flags, ready=ready) as server:
        yield server


def memory_of(pid: int) -> Iterator[bytes]:
    """Yield all that a process can write to in memory."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        if not rights.startswith("rw"):
            continue
        start, end = (int(part, 16) for part in span.split("-"))
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory, contextlib.suppress(OSError, ValueError):
            os.lseek(memory.fileno(), start, os.SEEK_SET)
            yield memory.read(end - start)


def revision(document: str) -> str:
    """Return what names a policy."""
    return hashlib.sha256(document.encode()).hexdigest()[:12]


def revisions(server: Server) -> set[str]:
    """Return the policies in force, over connections that spread over the workers."""
    return {server.request("GET", "/readyz").json["policy"] for _ in range(8)}


def stored(server: Server) -> str:
    """Return what the worker has stored for its successor."""
    private = Path(server.log.split("--cacert ")[1].split()[0]).parent
    return (private / "cluster.jsonl").read_text()


def ages(server: Server) -> dict[str, float]:
    """Return how old each part of the state is in the worker that has heard of it last."""
    sources = ("policy", "secrets", "namespaces")
    name = "tokenguard_state_age_seconds"
    return {source: min(server.metric(name, source=source) for _ in range(6)) for source in sources}
