"""Python programs that run in pods of tokenguard's image, and what they print about the tokens mounted there."""

import json
from typing import Any

from tests.end_to_end.cluster import POLICY, Object, created, pod, put_policy, token_volume, tokens
from tests.end_to_end.running import RunningCluster
from tests.serving import eventually

TEN_MINUTES = 600
VAULT, DIRECTORY, SUBPATH = "/var/run/secrets/tokens/vault/token", "/own/token", "/by-subpath/token"
WATCH_FILES = """
import base64, json, sys, time
seen = {}
while True:
    for path in sys.argv[1:]:
        claims = json.loads(base64.urlsafe_b64decode(open(path).read().split(".")[1] + "=="))
        now = {name: claims[name] for name in ("iat", "exp")}
        if seen.get(path) != now:
            seen[path] = now
            print(json.dumps({"path": path, **now}), flush=True)
    time.sleep(1)
"""
"""Prints the times in each token file, and again when they change; never the token."""
ASK_API_SERVER = """
import base64, http.client, json, os, ssl, sys, time
folder = sys.argv[1]
token = open(f"{folder}/token").read()
claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
trust = ssl.create_default_context(cafile=f"{folder}/ca.crt")
address = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
server = http.client.HTTPSConnection(*address, context=trust)
review = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
server.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review, headers)
answer = json.loads(server.getresponse().read())
print(json.dumps({
    "user": answer["status"]["userInfo"]["username"],
    "namespace": open(f"{folder}/namespace").read(),
    "files": sorted(name for name in os.listdir(folder) if not name.startswith("..")),
    "lifetime": claims["exp"] - claims["iat"] if "exp" in claims else None,
}), flush=True)
time.sleep(3600)
"""
"""Uses the token and CA in a folder as a client in a cluster does, and prints who it is for the API server."""


def run(cluster: RunningCluster, name: str, namespace: str, program: str, *arguments: str, **spec: Any) -> Object:
    """Create a pod of tokenguard's image that runs a Python program; return its spec as it was stored."""
    container = {"image": cluster.image, "command": ["python", "-c", program, *arguments], **spec.pop("container", {})}
    return created(cluster, pod(name, namespace, container=container, terminationGracePeriodSeconds=0, **spec))


def printed(cluster: RunningCluster, name: str, namespace: str) -> list[Object]:
    """Return the lines that a pod's program has printed; none before it runs."""
    _, answer = cluster.ask("GET", f"/api/v1/namespaces/{namespace}/pods/{name}/log")
    lines = answer["message"].splitlines() if answer.keys() == {"message"} else []
    return [json.loads(line) for line in lines if line.startswith("{")]


def run_watched(cluster: RunningCluster) -> str:
    """Run a pod with two ten-minute tokens, the injected one and one that is mounted twice; return its name."""
    put_policy(cluster, POLICY.replace("expirationSeconds: 1800", f"expirationSeconds: {TEN_MINUTES}"))
    dry_run = ("create", "--dry-run=server", "-o", "json", "-f", "-")

    def injected() -> int:
        spec = json.loads(cluster.do(*dry_run, stdin=pod("probe")))["spec"]
        seconds: int = tokens(spec)["tokenguard-vault"]["expirationSeconds"]
        return seconds

    eventually(lambda: injected() == TEN_MINUTES)
    mounts = [
        {"name": "token", "mountPath": DIRECTORY.rpartition("/")[0]},
        {"name": "token", "mountPath": SUBPATH, "subPath": "token"},
    ]
    volumes = [token_volume(audience="https://api.example.com", expirationSeconds=TEN_MINUTES)]
    run(cluster, "watched", "shop", WATCH_FILES, VAULT, DIRECTORY, SUBPATH,
            volumes=volumes, container={"volumeMounts": mounts})  # fmt: skip
    put_policy(cluster)
    eventually(lambda: injected() == 1800)
    return "watched"


KILL_CONTAINER = """
import os, pathlib, signal, sys
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        is_in_container = sys.argv[1] in (folder / "cgroup").read_text()
        is_first = "NSpid:" in (status := (folder / "status").read_text()) and (
            status.split("NSpid:")[1].split("\\n")[0].split()[-1] == "1")
    except OSError:
        continue  # it has ended
    if is_in_container and is_first:
        os.kill(int(folder.name), signal.SIGKILL)
        print(1)
"""
"""Kills the first process of a container on this node, and by that all of the container, as the kernel does."""


def kill_container(cluster: RunningCluster, replica: Object) -> None:
    """Kill the container of a pod of one container, by another pod on the same node that sees all processes there."""
    [status] = replica["status"]["containerStatuses"]
    container = status["containerID"].rpartition("/")[2]
    name = f"killer-{container[:8]}"
    run(cluster, name, "shop", KILL_CONTAINER, container, hostPID=True, nodeName=replica["spec"]["nodeName"],
        restartPolicy="Never", container={"securityContext": {"runAsUser": 0}})  # fmt: skip
    path = f"/api/v1/namespaces/shop/pods/{name}"
    eventually(lambda: cluster.ask("GET", path)[1]["status"]["phase"] == "Succeeded", patience=60)
    _, killed = cluster.ask("GET", f"{path}/log")
    assert killed["message"] == "1\n"
