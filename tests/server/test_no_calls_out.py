"""A policy and a review are full of URLs: none of them is ever called."""

import contextlib
import json
import select
import socket

import pytest

from tests.reviews import review
from tests.serving import serve

POLICY = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
tokens:
  audiences: {{allowed: ["{url}/*", "{url}/latest/*", "{url}"], default: "{url}"}}
apiServerToken: {{audiences: ["{url}"]}}
inject:
- {{name: ssrf, audience: "{url}/latest/meta-data", mountPath: /var/run/secrets/ssrf}}
exemptions:
- {{rules: [token-subpath], serviceAccounts: ["nobody"], reason: "{url}/ticket", until: never}}
"""


@pytest.fixture
def listener():
    """Return a socket that would be called where the URLs lead."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        yield bound


def was_called(listener: socket.socket) -> bool:
    """Say whether anybody has connected, or does within a second."""
    return bool(select.select([listener], [], [], 1.0)[0])


@pytest.mark.covers("threat-model: addresses in the policy")
def test_urls_in_policy_and_review_are_never_called(listener, tmp_path) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    (tmp_path / "policy.yaml").write_text(POLICY.format(url=url))
    token = {"serviceAccountToken": {"path": "t", "audience": f"{url}/a"}}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": {"see": url}},
        "spec": {
            "containers": [{"name": "a", "image": f"127.0.0.1:{listener.getsockname()[1]}/image"}],
            "volumes": [{"name": "t", "projected": {"sources": [token]}}],
        },
    }  # fmt: skip
    document = json.loads(review(pod))
    document["request"]["options"] = {"callback": url}
    with serve(tmp_path / "run", "--policy", str(tmp_path / "policy.yaml")) as server:
        for path in ("/mutate", "/validate"):
            assert server.request("POST", f"{path}?url={url}", json.dumps(document), {
                "Content-Type": "application/json", "X-Forwarded-Host": url, "Referer": url,
            }).json["response"]["uid"]  # fmt: skip
        assert not was_called(listener)
    with contextlib.closing(socket.create_connection(listener.getsockname())):
        assert was_called(listener), "a call would have been noticed"
