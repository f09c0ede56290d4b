"""The `policy init` command: what it prints around the draft, and its exit status. The draft is in `tests/scan`."""

import pytest
from click.testing import CliRunner

from tests.cli.list_server import configured, serve_lists
from webhook.cli import main

TOKEN = {"serviceAccountToken": {"path": "t", "audience": "minio", "expirationSeconds": 900}}
SPEC = {"containers": [{"name": "app", "image": "app"}], "volumes": [{"name": "t", "projected": {"sources": [TOKEN]}}]}
NIGHTLY = {
    "metadata": {"name": "nightly", "namespace": "shop"},
    "spec": {"jobTemplate": {"spec": {"template": {"spec": SPEC}}}},
}


@pytest.fixture
def api():
    with serve_lists() as server:
        server.answers = {"/apis/batch/v1/cronjobs": (200, [NIGHTLY])}
        yield server


@pytest.fixture
def init(api, tmp_path):
    kubeconfig = configured(tmp_path / "kubeconfig", here=f"http://127.0.0.1:{api.server_port}")
    return lambda *flags: CliRunner().invoke(main, ["policy", "init", "--kubeconfig", str(kubeconfig), *flags])


def test_audiences_are_commented_with_their_namespaces(init) -> None:
    done = init()
    assert done.exit_code == 0
    assert "#   minio: CronJob/nightly in shop\n" in done.stdout
    assert "\n    allowed:\n    - minio\n" in done.stdout
    assert done.stderr == (
        "scanned 1 workload and 0 legacy Secrets; in mode enforce, the draft denies nothing that the scan saw running\n"
    )


def test_init_for_a_namespace_says_that_it_is_for_the_cluster() -> None:
    done = CliRunner().invoke(main, ["policy", "init", "-n", "shop"])
    assert done.exit_code == 2
    assert done.stderr.splitlines()[0].endswith("; to see one namespace, run: tokenguard scan -n shop")


def test_nothing_is_drafted_if_secrets_could_not_be_read(api, init) -> None:
    api.answers["/api/v1/secrets"] = (403, [])
    done = init()
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no policy was drafted, as a part of the cluster could not be read\n")
    assert "\nerror: cannot read secrets" in done.stderr


def test_exempt_accounts_are_commented_with_their_permissions(api, init) -> None:
    pod = {"metadata": {"name": "job", "namespace": "shop"}, "spec": {
        "serviceAccountName": "robot", "containers": [{"name": "app", "envFrom": [{"secretRef": {"name": "old"}}]}],
    }}  # fmt: skip
    api.answers["/api/v1/pods"] = (200, [pod])
    account = {"kubernetes.io/service-account.name": "robot"}
    secret = {"metadata": {"name": "old", "namespace": "shop", "annotations": account}}
    invalid = {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}
    disabled = {"metadata": {"name": "disabled", "namespace": "shop", "annotations": account, "labels": invalid}}
    api.answers["/api/v1/secrets"] = (200, [secret, disabled])
    done = init()
    assert done.exit_code == 0, done.stderr
    assert "#   shop/robot: no permissions (legacy-token-reference)\n" in done.stdout
    assert " that stay, but could not be created again: 2: shop/old, shop/old.\n" in done.stdout
    assert "the draft denies nothing that the scan saw running; 1 account exempt\n" in done.stderr
    exempting = init("--exempt-secrets")
    assert exempting.exit_code == 0, exempting.stderr
    assert "#   shop/robot: no permissions (legacy-token-reference, legacy-token-secret)\n" in exempting.stdout
    assert "could not be created again" not in exempting.stdout
    assert "can get\n# new tokens of the account that never expire.\n" in exempting.stdout
