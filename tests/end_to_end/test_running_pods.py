"""What the kubelet makes of the tokens: files in running pods, read by programs that run there."""

import time

import pytest

from tests.end_to_end.programs import ASK_API_SERVER, DIRECTORY, SUBPATH, TEN_MINUTES, VAULT, printed, run
from tests.end_to_end.running import MINUTES
from tests.serving import eventually

REFRESHED_FROM = 0.8 * TEN_MINUTES - 10
"""The kubelet refreshes at 80 % of the lifetime, less up to ten seconds (pkg/kubelet/token/token_manager.go)."""


@pytest.mark.parametrize(("namespace", "lifetime"), [("warned", None), ("lenient", 3600)], ids=["unpatched", "patched"])
def test_application_reads_the_twin_of_a_legacy_volume_unchanged(cluster, namespace, lifetime) -> None:
    volume = {"name": "token", "secret": {"secretName": "app-token"}}
    container = {"volumeMounts": [{"name": "token", "mountPath": "/credentials", "readOnly": True}]}
    run(cluster, "client", namespace, ASK_API_SERVER, "/credentials", volumes=[volume], container=container)
    [seen] = eventually(lambda: printed(cluster, "client", namespace), patience=2 * MINUTES)
    assert seen == {
        "user": f"system:serviceaccount:{namespace}:app",
        "namespace": namespace,
        "files": ["ca.crt", "namespace", "token"],
        "lifetime": lifetime,
    }


def changes(cluster, pod_name: str, path: str, count: int, patience: float) -> list[dict]:
    """Wait until a token file has had so many contents, and return their times."""

    def text():
        times = [line for line in printed(cluster, pod_name, "shop") if line["path"] == path]
        time.sleep(1)
        return len(times) >= count and times

    return eventually(text, patience=patience)


def test_injected_token_lives_as_long_as_the_policy_says(cluster, watched) -> None:
    first = changes(cluster, watched, VAULT, 1, 2 * MINUTES)[0]
    assert first["exp"] - first["iat"] == TEN_MINUTES


def test_kubelet_refreshes_an_injected_token_before_it_expires(cluster, watched) -> None:
    first, second = changes(cluster, watched, VAULT, 2, 12 * MINUTES)[:2]
    assert REFRESHED_FROM <= second["iat"] - first["iat"] < TEN_MINUTES


def test_subpath_mount_keeps_the_token_that_its_volume_replaces(cluster, watched) -> None:
    first, second = changes(cluster, watched, DIRECTORY, 2, 12 * MINUTES)[:2]
    assert second["exp"] > first["exp"]
    assert [seen["exp"] for seen in changes(cluster, watched, SUBPATH, 1, MINUTES)] == [first["exp"]]
