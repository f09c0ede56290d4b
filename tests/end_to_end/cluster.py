"""A cluster as a person has it, by kubectl; what is in it before tokenguard comes; and what the cases do with it."""

import json
import shlex
import subprocess
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.legacy_tokens import legacy_token
from tests.serving import eventually

POLICY = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
tokens:
  audiences: {allowed: ["https://*.example.com"]}
inject:
- name: vault
  audience: https://vault.example.com
  expirationSeconds: 1800
  mountPath: /var/run/secrets/tokens/vault
  env: VAULT_TOKEN_PATH
  namespaces: [shop]
overrides:
- namespaces: [lenient]
  rules: {legacy-token-reference: patch, api-token-automount: patch}
- namespaces: [strict]
  rules: {token-subpath: reject, kubelet-hostpath: reject, api-token-automount: reject, token-request-binding: reject}
- namespaces: [warned]
  mode: warn
- namespaces: [oncall]
  tokens: {maxRequestExpirationSeconds: 7200}
exemptions:
- rules: [legacy-token-reference]
  namespaces: [shop]
  serviceAccounts: [jenkins]
  reason: cannot reload a token yet
  until: never
- rules: [legacy-token-secret, token-request-expiration, token-request-audience, token-request-binding]
  users: ["system:serviceaccount:legacy-*:controller"]
  reason: until its next release
  until: never
"""
NAMESPACES = ("shop", "lenient", "strict", "warned", "oncall", "monitoring")
LEGACY = "kubernetes.io/service-account-token"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
_ACCOUNT, _UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
NEW_TOKEN: dict[str, Any] = {
    "another account": {"metadata": {"annotations": {_ACCOUNT: "jenkins", _UID: None}}, "data": {"token": None}},
    "another account alone": {"metadata": {"annotations": {_ACCOUNT: "jenkins"}}},
    "no uid": {"metadata": {"annotations": {_UID: None}}},
    "no token": {"data": {"token": None}},
    "an empty token": {"data": {"token": ""}},
    "no data": {"data": None},
}
"""Merge patches of a legacy Secret after which it holds another token, or one by the next of them."""
WRITE_POLICY = ("apply", "-f", "-")
Object = dict[str, Any]


@dataclass
class Cluster:
    """A cluster by its kubectl: the program, and a folder with `kubeconfig` that it may put its cache in, too."""

    program: str
    folder: Path

    @property
    def has_controllers(self) -> bool:
        """Whether somebody makes the pods of a Deployment."""
        return True

    def kubectl(self, *arguments: str, stdin: Any = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl; `stdin` is an object for `-f -`."""
        where = ("--kubeconfig", str(self.folder / "kubeconfig"), "--cache-dir", str(self.folder / "cache"))
        given = json.dumps(stdin) if stdin is not None else None
        command = [self.program, *where, *arguments]
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)

    @property
    def node(self) -> str:
        """The name of a node; where there is none, one is made that runs nothing."""
        named = self.do("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()
        if not named:
            named = ["node-1"]
            self.do("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "Node", "metadata": {"name": named[0]}})
        return named[0]

    def do(self, *arguments: str, stdin: Any = None) -> str:
        """Run kubectl, expect it to succeed, return what it printed."""
        done = self.kubectl(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def create(self, *objects: Object) -> None:
        """Create objects in their order, with one call of kubectl."""
        self.do("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": objects})


def prepare(cluster: Cluster) -> None:
    """Make namespaces and accounts, and the legacy tokens and their pods that a cluster has from before."""
    held = {"name": "held", "secret": {"secretName": "app-token"}}
    cluster.create(
        *(made for name in NAMESPACES for made in namespace_with(name, "app", "jenkins")),
        *(secret(f"{name}-token", namespace, name) for namespace in NAMESPACES for name in ("app", "jenkins")),
        pod("before", volumes=[held], container=reads_legacy()),
    )


def namespace_with(name: str, *accounts: str) -> list[Object]:
    """Return a namespace and ServiceAccounts in it."""
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}] + [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": name}}
        for account in accounts
    ]


def put_policy(cluster: Cluster, document: str = POLICY, namespace: str = "tokenguard") -> None:
    """Write the policy as an operator does, by kubectl apply."""
    cluster.do(*WRITE_POLICY, stdin=policy_configmap(document, namespace))


def policy_configmap(document: str, namespace: str = "tokenguard") -> Object:
    """Return the ConfigMap that holds the policy, as the manifests have it."""
    return configmap(
        {"name": "token-policy", "namespace": namespace, "labels": {"tokenguard/policy": "true"}}, document
    )


def is_webhook_called(cluster: Cluster) -> bool:
    """Say whether the API server asks tokenguard about tokens, and is answered."""
    done = cluster.kubectl("create", "token", "default", "-n", "default", "--duration=48h")
    return "token-request-expiration" in done.stderr


def configmap(meta: Object, document: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"policy.yaml": document}}


def secret(name: str, namespace: str, account: str = "app") -> Object:
    meta = {"name": name, "namespace": namespace, "annotations": {"kubernetes.io/service-account.name": account}}
    return {"apiVersion": "v1", "kind": "Secret", "type": LEGACY, "metadata": meta}


def patch_secret(cluster: Cluster, name: str, namespace: str, patch: Object) -> subprocess.CompletedProcess[str]:
    """Apply a merge patch to a Secret."""
    return cluster.kubectl("patch", "secret", name, "-n", namespace, "--type=merge", "-p", json.dumps(patch))


def filled(cluster: Cluster, name: str, namespace: str) -> str:
    """Return the token in a legacy Secret; where nobody fills it, it gets one that nobody has signed."""

    def token() -> str:
        secret = json.loads(cluster.do("get", "secret", name, "-n", namespace, "-o", "json"))
        return b64decode(secret.get("data", {}).get("token", "")).decode()

    if not cluster.has_controllers and not token():
        patch = {
            "metadata": {"annotations": {_UID: uid_of(cluster, "serviceaccount", "app", namespace)}},
            "stringData": {"token": legacy_token(namespace, "app", name)},
        }
        controller = acting("system:kube-controller-manager")
        cluster.do("patch", "secret", name, "-n", namespace, "--type=merge", "-p", json.dumps(patch), *controller)
    return eventually(token)


def pod(name: str, namespace: str = "shop", account: str = "app", **spec: Any) -> Object:
    """Return a pod; `container` in `spec` is what its one container has besides, `annotations` are the pod's."""
    container = {"name": "app", "image": "registry.k8s.io/pause:3.10", **spec.pop("container", {})}
    meta = {"name": name, "namespace": namespace, "annotations": spec.pop("annotations", {})}
    whole = {"serviceAccountName": account, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": whole}


def token_volume(name: str = "token", **source: Any) -> Object:
    return {"name": name, "projected": {"sources": [{"serviceAccountToken": {"path": "token", **source}}]}}


def reads_legacy(secret_name: str = "app-token") -> Object:
    return {"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": secret_name, "key": "token"}}}]}


def created(cluster: Cluster, manifest: Object) -> Object:
    """Create a pod and return its spec as it was stored."""
    cluster.do("create", "-f", "-", stdin=manifest)
    meta = manifest["metadata"]
    return json.loads(cluster.do("get", "pod", meta["name"], "-n", meta["namespace"], "-o", "json"))["spec"]


def acting(user: str) -> tuple[str, ...]:
    """Return the flags that have kubectl act as another user, who may do everything that an admin may."""
    return (f"--as={user}", "--as-group=system:masters", "--as-group=system:authenticated")


def uid_of(cluster: Cluster, kind: str, name: str, namespace: str) -> str:
    """Return the uid of something that there is."""
    return cluster.do("get", kind, name, "-n", namespace, "-o", "jsonpath={.metadata.uid}")


def suggested(message: str) -> list[str]:
    """Return the arguments of the command that a message ends a line with, for kubectl."""
    [command] = {line.rpartition("kubectl ")[2] for line in message.splitlines() if "kubectl create token" in line}
    return shlex.split(command)


def refusal(cluster: Cluster, manifest: Object) -> str:
    """Create something that is refused, and return what kubectl says."""
    done = cluster.kubectl("create", "-f", "-", stdin=manifest)
    assert done.returncode == 1, done.stdout
    return done.stderr


def warnings(cluster: Cluster, manifest: Object) -> str:
    """Create something, and return what kubectl warns of."""
    done = cluster.kubectl("create", "-f", "-", stdin=manifest)
    assert done.returncode == 0, done.stderr
    return done.stderr


def tokens(spec: Object) -> dict[str, Object]:
    """Return a pod's projected tokens by their volume's name; the API server's own is `kube-api-access`."""
    return {
        "kube-api-access" if volume["name"].startswith("kube-api-access") else volume["name"]: source[
            "serviceAccountToken"
        ]
        for volume in spec.get("volumes", [])
        for source in volume.get("projected", {}).get("sources", [])
        if "serviceAccountToken" in source
    }
