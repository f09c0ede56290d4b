"""The end-to-end cases, against an API server that asks tokenguard as the manifests say."""

import json

import pytest

from tests.control_plane.installed import installed
from tests.control_plane.plane import own_plane
from tests.end_to_end.cases import *  # noqa: F403 - every case is a test of this module
from tests.end_to_end.cases.evasion import EXEMPT, made_for_nobody
from tests.end_to_end.cluster import acting, prepare
from tests.serving import eventually


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("end-to-end")
    with own_plane(folder) as plane:
        plane.start_controllers()
        for namespace in ("default", "kube-system"):
            if plane.has_controllers:
                eventually(lambda: plane.kubectl("get", "serviceaccount", "default", "-n", namespace).returncode == 0)  # noqa: B023
            else:
                plane.do("create", "serviceaccount", "default", "-n", namespace)
        prepare(plane)
        with installed(plane, folder / "tokenguard"):
            yield plane


@pytest.mark.covers("threat-model: impersonation")
def test_impersonation_is_in_the_api_servers_audit_log(cluster) -> None:
    made_for_nobody(cluster, *acting(EXEMPT))
    said = [json.loads(line) for line in cluster.audit.splitlines()]
    both = [(message["user"]["username"], message.get("impersonatedUser", {}).get("username")) for message in said]
    assert ("admin", EXEMPT) in both
