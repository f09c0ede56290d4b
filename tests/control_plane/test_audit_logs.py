"""`tokenguard audit summarize` over the log that a real API server writes, and over tokenguard's own beside it."""

import base64
import json
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.commands import run_command
from tests.control_plane.plane import ControlPlane, own_plane
from tests.end_to_end.cluster import pod, reads_legacy, secret, uid_of
from tests.serving import eventually
from tests.tokens.signing import Signer, plain_claims
from webhook.tokens.claims import parse_token

HOUR = 3600


def summarize(*files: Path, status: int = 1) -> dict:
    done = run_command("audit", "summarize", "--output", "json", *map(str, files))
    assert (done.returncode, done.stderr) == (status, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def bare_plane(tmp_path_factory):
    with own_plane(tmp_path_factory.mktemp("audit-logs")) as running:
        running.start_controllers()
        running.do("create", "namespace", "demo")
        for account in ("sleepy", "old", "modern"):
            running.do("create", "serviceaccount", account, "-n", "demo")
        yield running


def ask(plane: ControlPlane, token: bytes) -> None:
    """Have somebody list pods, which he may not: but the API server knows him by then."""
    command = [str(plane.binaries / "kubectl"), "--kubeconfig", "/dev/null", "--server", plane.url]
    trusts = ("--certificate-authority", str(plane.folder / "ca.crt"), "--token", token.decode().strip())
    done = subprocess.run([*command, *trusts, "get", "pods", "-n", "demo"], capture_output=True, text=True, check=False)
    assert "forbidden" in done.stderr.lower(), done.stderr


def of_pod_long_ago(plane: ControlPlane, account: str) -> bytes:
    """Return the token that a pod got two hours ago: said to live an hour, and lives a year."""
    name = f"{account}-0"
    plane.do("create", "-f", "-", stdin=pod(name, "demo", account))
    issued = int(time.time()) - 2 * HOUR
    key = load_pem_private_key((plane.folder / "accounts.key").read_bytes(), None)
    fresh = parse_token(plane.do("create", "token", account, "-n", "demo").encode())
    whose = {
        "namespace": "demo",
        "pod": {"name": name, "uid": uid_of(plane, "pod", name, "demo")},
        "serviceaccount": {"name": account, "uid": uid_of(plane, "serviceaccount", account, "demo")},
        "warnafter": issued + HOUR + 7,
    }
    claims = plain_claims(**{
        "iat": issued, "nbf": issued, "exp": issued + 31_536_000, "sub": f"system:serviceaccount:demo:{account}",
        "kubernetes.io": whose,
    })  # fmt: skip
    return Signer("RS256", fresh.key_id, key).sign(claims)


def legacy(plane: ControlPlane, account: str) -> bytes:
    if not plane.has_controllers:
        pytest.skip("needs kube-controller-manager, which puts the tokens into Secrets")
    plane.do("create", "-f", "-", stdin=secret(f"{account}-token", "demo", account))
    get = ("get", "secret", f"{account}-token", "-n", "demo", "-o", "jsonpath={.data.token}")
    return base64.b64decode(eventually(lambda: plane.do(*get)))


def test_stale_and_legacy_token_users_are_summarized(bare_plane) -> None:
    plane = bare_plane
    log = plane.folder / "audit.log"
    ask(plane, plane.do("create", "token", "modern", "-n", "demo").encode())
    assert summarize(log, status=0)["staleTokens"]["rows"] == []
    stale = of_pod_long_ago(plane, "sleepy")
    for _ in range(2):
        ask(plane, stale)
    summary = summarize(log)
    [row] = summary["staleTokens"]["rows"]
    assert row["account"] == "demo/sleepy"
    assert row["requests"] >= 2
    assert HOUR - 60 < row["secondsStale"] < HOUR + 600
    assert row["pods"] == ["sleepy-0"]
    assert "kubectl" in row["clients"][0]
    assert summary["legacyTokens"]["rows"] == []
    ask(plane, legacy(plane, "old"))
    [row] = summarize(log)["legacyTokens"]["rows"]
    assert row["account"] == "demo/old"
    assert row["details"] == ["manual-secret old-token"]


def test_audit_log_and_api_server_log_agree(guarded_plane, tmp_path) -> None:
    plane, server = guarded_plane
    own_log = server.folder / "audit"
    before, own_before = len(plane.audit), own_log.stat().st_size  # others ask the same API server about more
    for number in range(3):
        plane.do("create", "-f", "-", stdin=pod(f"fine-{number}", "demo"))
        plane.kubectl("create", "-f", "-", stdin=pod(f"legacy-{number}", "demo", container=reads_legacy()))
    plane.kubectl("create", "-f", "-", "--dry-run=server", stdin=pod("legacy-dry", "demo", container=reads_legacy()))
    generated = pod("ignored", "demo", container=reads_legacy())
    generated["metadata"] = {"generateName": "made-up-", "namespace": "demo"}
    plane.kubectl("create", "-f", "-", stdin=generated)
    mixed, api_server_lines, own_lines = (tmp_path / name for name in ("mixed", "api-server", "tokenguard"))
    api_server_lines.write_text(plane.audit[before:])
    own_lines.write_bytes(own_log.read_bytes()[own_before:])
    mixed.write_text(api_server_lines.read_text() + own_lines.read_text())
    summary = summarize(mixed)
    assert summary == summarize(api_server_lines, own_lines) | {"logs": 1}
    own, by_api_server = summary["decisions"]["tokenguard"], summary["decisions"]["apiServer"]
    assert own["denied"] >= 4
    assert own["patched"] >= 3
    assert own["dryRuns"]["denied"] >= 1
    assert {key: value for key, value in own.items() if key not in {"rules", "accounts"}} == {
        key: value for key, value in by_api_server.items() if key not in {"rules", "accounts"}
    }
