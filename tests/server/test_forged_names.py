"""Names that want to be more than names: a second line, a command to a terminal, text that runs backwards."""

import json

import pytest

from tests.reviews import review
from tests.serving import JSON

FORGED = {
    "a second line": 'app"}\n{"decision":"allowed","user":"nobody',
    "a line of the log": "app\n[2026-11-24 10:00:00,000] [1] [INFO] policy loaded: fine",
    "a carriage return": "app\rallowed",
    "a line separator": "app\u2028allowed\u2029\x85\x0b\x0c",
    "commands to a terminal": "app\x1b[2J\x1b]0;owned\x07\x9b1m",
    "NUL": "app\0allowed",
    "text that runs backwards": "app\u202edewolla",
    "a tag of our own": "app [tokenguard 00000000]",
}


def forged(name: str) -> bytes:
    """Return a review of a pod that is denied, in which everything that may hold a name holds this one."""
    owner = {"apiVersion": name, "kind": name, "name": name, "uid": name, "controller": True}
    meta = {
        "name": name, "generateName": name, "labels": {"a": name}, "ownerReferences": [owner],
        "annotations": {"tokenguard/inject": name.replace(",", "")},  # a comma would make two names of it
    }  # fmt: skip
    container = {
        "name": name, "volumeMounts": [{"name": "t", "mountPath": name, "subPath": name}],
        "env": [{"name": name, "valueFrom": {"secretKeyRef": {"name": "app-token", "key": name}}}],
    }  # fmt: skip
    token = {"path": name, "audience": name, "expirationSeconds": 86400}
    volume = {"name": "t", "projected": {"sources": [{"serviceAccountToken": token}]}}
    spec = {"serviceAccountName": name, "containers": [container], "volumes": [volume]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    return review(pod, user=name, groups=(name,))


@pytest.mark.parametrize("name", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("path", ["/mutate", "/validate"])
@pytest.mark.covers("threat-model: control characters in names")
def test_forged_name_adds_no_line_and_no_terminal_command(server, path, name) -> None:
    before, log = (server.folder / "audit").read_bytes(), server.log
    response = server.request("POST", path, forged(name), JSON).json["response"]
    [line] = (server.folder / "audit").read_bytes().removeprefix(before).splitlines()
    record = json.loads(line)
    assert (record["id"], record["user"], record["name"]) == (response["uid"][:8], name, name)
    assert line.decode().isprintable()
    assert server.log == log
    shown = [*response.get("warnings", ()), *response.get("status", {}).get("message", "").split("\n")]
    assert [command for command in shown if not command.isprintable()] == []
    assert shown[-1].startswith(f"[tokenguard {response['uid'][:8]}") or "status" not in response


@pytest.mark.covers("threat-model: control characters in names")
def test_denial_has_a_line_for_each_finding(server) -> None:
    lines = {
        name: len(
            server.request("POST", "/validate", forged(text), JSON).json["response"]["status"]["message"].split("\n")
        )
        for name, text in FORGED.items()
    }
    assert len(set(lines.values())) == 1
