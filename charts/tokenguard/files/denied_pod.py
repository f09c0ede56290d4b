"""Create, on dry-run, what tokenguard must deny: `helm test` runs it in a pod. Exit status 1: it was not denied.

An invalid policy is always denied. The pod, whose token names no audience, is denied if the policy's mode is enforce.
"""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN = {"path": "token", "expirationSeconds": 600}
POD = {
    "metadata": {"generateName": "tokenguard-test-"},
    "spec": {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "test",
                "image": "test",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
        "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": TOKEN}]}}],
    },
}
POLICY = {
    "metadata": {"generateName": "tokenguard-test-", "labels": {"tokenguard/policy": "true"}},
    "data": {"policy.yaml": "kind: invalid"},
}


def create(namespace: str, resource: str, manifest: dict[str, object]) -> str:
    """Create an object on dry-run; return why it was denied, or nothing."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    url = f"https://{host}:{port}/api/v1/namespaces/{namespace}/{resource}?dryRun=All"
    token = (ACCOUNT / "token").read_text()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(manifest).encode(), headers)
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, context=trust, timeout=30):  # noqa: S310 - as above
            return ""
    except urllib.error.HTTPError as error:
        return str(json.load(error)["message"])


def main(own_namespace: str, namespace: str, mode: str) -> int:
    """Create both, and return the exit status."""
    failed = False
    for what, reply, expected in (
        (f"invalid policy in {own_namespace}", create(own_namespace, "configmaps", POLICY), True),
        (f"pod without an audience in {namespace}", create(namespace, "pods", POD), mode == "enforce"),
    ):
        denied = "[tokenguard " in reply
        failed |= expected and not denied
        print(f"{what}: {reply or 'created (dry-run)'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
