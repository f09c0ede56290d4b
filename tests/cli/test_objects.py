"""The `objects` command: what it prints of Secrets, and what other commands read from it."""

import json

import pytest

from tests.cli.list_server import configured, serve_lists
from tests.commands import run_command
from tests.migrate.workloads import workload

LAST_USED, INVALID_SINCE = "kubernetes.io/legacy-token-last-used", "kubernetes.io/legacy-token-invalid-since"
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
TRACKING_PATH = "/api/v1/namespaces/kube-system/configmaps"
TRACKED = {"metadata": {"name": TRACKING, "namespace": "kube-system"}, "data": {"since": "2025-01-15", "more": "x"}}


def secret(name: str, **labels: str):
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "creationTimestamp": "2021-05-05T08:00:00Z",
            "labels": {f"kubernetes.io/legacy-token-{key.replace('_', '-')}": day for key, day in labels.items()},
            "annotations": {"kubernetes.io/service-account.name": "web", "owner": "jane"},
        }
    }


@pytest.fixture
def api():
    with serve_lists() as server:
        used, disabled = secret("used", last_used="2026-11-25"), secret("disabled", invalid_since="2026-03-01")
        server.answers = {
            "/api/v1/secrets": (200, [used, disabled, secret("unused")]),
            "/api/v1/namespaces": (200, [{"metadata": {"name": "shop", "labels": {"team": "shop"}}}]),
            TRACKING_PATH: (200, [TRACKED]),
        }
        yield server


@pytest.fixture
def run(api, tmp_path):
    kubeconfig = configured(tmp_path / "kubeconfig", here=f"http://127.0.0.1:{api.server_port}")
    return lambda *flags: run_command("objects", "--kubeconfig", str(kubeconfig), *flags)


def test_objects_have_creation_and_use_of_secrets(run) -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    namespace, *secrets, tracking = json.loads(done.stdout)["items"]
    assert namespace["metadata"] == {"name": "shop", "labels": {"team": "shop"}}
    labels = [secret["metadata"]["labels"] for secret in secrets]
    assert labels == [{LAST_USED: "2026-11-25"}, {INVALID_SINCE: "2026-03-01"}, {}]
    assert {secret["metadata"]["creationTimestamp"] for secret in secrets} == {"2021-05-05T08:00:00Z"}
    assert tracking == {"apiVersion": "v1", "kind": "ConfigMap", **TRACKED, "data": {"since": "2025-01-15"}}
    assert "jane" not in done.stdout


def test_objects_without_right_to_uses_say_so(run, api) -> None:
    api.answers[TRACKING_PATH] = (403, [])
    done = run()
    assert done.returncode == 0
    assert done.stderr.startswith(f"warning: cannot read ConfigMap kube-system/{TRACKING}: ")
    assert {item["kind"] for item in json.loads(done.stdout)["items"]} == {"Namespace", "Secret"}


def test_migrate_takes_the_uses_from_objects(run, tmp_path) -> None:
    (tmp_path / "objects.json").write_text(run().stdout)
    (tmp_path / "web.json").write_text(json.dumps(workload("Deployment", "web", {"containers": [{"name": "main"}]})))
    files = [str(tmp_path / name) for name in ("web.json", "objects.json")]
    done = run_command("migrate", *files, "--output-dir", str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (0, "")
    checklist = (tmp_path / "out/shop/README.md").read_text()
    assert "| `used` | `web` | last used 2026-11-25 | none of these manifests |" in checklist
    assert "| `unused` | `web` | no use recorded since 2025-01-15 | none of these manifests |" in checklist
    assert "; disabled since 2026-03-01 |" in checklist
