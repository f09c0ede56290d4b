"""Lines of audit logs for tests."""

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

START = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
APP = "system:serviceaccount:shop:app"
STALE = "authentication.k8s.io/stale-token"
LEGACY = "authentication.k8s.io/legacy-token"
BACKUP = ("10.0.0.7", "backup/1.0")
"""The address and the user agent of a client."""


def at(seconds: float) -> str:
    """Return a time so long after the start."""
    return (START + dt.timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def own(seconds: float = 0, *rules: str, **changed: Any) -> bytes:
    """Return a line of tokenguard's log; `rules` are `rule: action`."""
    findings = [dict(zip(("rule", "action"), rule.split(": "), strict=True)) for rule in rules]
    line = {
        "time": at(seconds), "id": "7ceb3af7", "uid": "7ceb3af7-1", "webhook": "validate", "decision": "denied",
        "operation": "CREATE", "resource": "pods", "namespace": "shop", "name": "app-1", "owner": "",
        "serviceAccount": "app", "user": "admin", "dryRun": False,
        "findings": [{**finding, "path": "spec", "detail": "is wrong"} for finding in findings],
        "patch": [], "exemption": "", "policy": "0123456789ab", "durationMs": 0.1,
    }  # fmt: skip
    return text({key: value for key, value in (line | changed).items() if value is not None})


def mutate(seconds: float = 0, *rules: str, **changed: Any) -> bytes:
    """Return the mutating webhook's line about the same pod."""
    return own(seconds, *rules, **{"webhook": "mutate", "decision": "patched", "uid": "0f7be1c4-1"} | changed)


def event(seconds: float = 0, annotations: dict[str, str] | None = None, **changed: Any) -> bytes:
    """Return a line of the API server's log."""
    line = {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "a",
        "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/shop/pods", "verb": "create",
        "user": {"username": APP, "groups": ["system:authenticated"],
                 "extra": {"authentication.kubernetes.io/pod-name": ["app-1"]}},
        "sourceIPs": ["10.0.0.1"], "userAgent": "client/1.0",
        "objectRef": {"resource": "pods", "namespace": "shop", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201},
        "requestReceivedTimestamp": at(seconds), "stageTimestamp": at(seconds), "annotations": annotations,
    }  # fmt: skip
    return text(line | changed)


def refused(begin: float, end: float, client: tuple[str, str] = BACKUP, **changed: Any) -> bytes:
    """Return the Event of a request with a rejected token, as 1.36.2 writes it."""
    address, agent = client
    return event(end, **{
        "stage": "ResponseStarted", "requestURI": "/apis", "verb": "get", "user": {}, "objectRef": None,
        "sourceIPs": [address], "userAgent": agent, "responseStatus": {"code": 401, "reason": "Unauthorized"},
        "requestReceivedTimestamp": at(begin), **changed,
    })  # fmt: skip


def labelled(begin: float, end: float, name: str = "robot", user: str = "system:apiserver", **changed: Any) -> bytes:
    """Return the Event of the patch that writes the day of a use into a Secret."""
    subject = {"resource": "secrets", "namespace": "shop", "name": name, "apiVersion": "v1"}
    return event(end, {"authorization.k8s.io/decision": "allow"}, **{
        "verb": "patch", "user": {"username": user}, "objectRef": subject, "requestReceivedTimestamp": at(begin),
        "responseStatus": {"code": 200}, **changed,
    })  # fmt: skip


def text(line: Any) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


_SUMMARIZE = """
import sys
{limits}
from webhook.cli import main
sys.argv[1:] = ["audit", "summarize", sys.argv[1]]
try: main()
except SystemExit: pass
sys.stderr.write(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""The peak is of this program alone; `ru_maxrss` would begin with the peak of the process that starts it."""


def peak_memory(log: Path, limits: str) -> int:
    """Summarize a log in a process of its own, whose `limits` a statement lowers; return its peak memory in KiB."""
    command = [sys.executable, "-c", _SUMMARIZE.format(limits=limits), str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-2])
