"""An API server whose audience is an unusual one: known from the token that tokenguard itself was given."""

import json

import pytest

from tests.control_plane import live
from tests.control_plane.conftest import INTERNAL_AUDIENCE
from tests.control_plane.installed import as_in_a_pod
from tests.recorded_reviews import recorded
from tests.serving import serve

POLICY = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
tokens: {maxRequestExpirationSeconds: 86400, audiences: {allowed: ["https://*.example.com"]}}
"""


@pytest.fixture(scope="module")
def server(internal_plane, tmp_path_factory):
    folder = tmp_path_factory.mktemp("api-audience")
    (folder / "policy.yaml").write_text(POLICY)
    wrap, environment = as_in_a_pod(internal_plane, folder)
    with serve(folder / "run", "--policy", str(folder / "policy.yaml"), wrap=wrap, env=environment) as running:
        yield running


def review(**spec) -> bytes:
    """Return a review of a TokenRequest, as a real API server sent one, that asks for something else."""
    document = json.loads(recorded("token-bound-to-pod.serviceaccounts-token", "validate"))
    document["request"]["object"]["spec"] |= spec
    return json.dumps(document).encode()


def test_audience_of_the_api_server_is_allowed_the_usual_is_not(server) -> None:
    assert live.denial_message(server, review(audiences=[INTERNAL_AUDIENCE])) == ""
    refused = live.denial_message(server, review(audiences=["https://kubernetes.default.svc"]))
    assert 'token-request-audience: spec.audiences[0] is "https://kubernetes.default.svc"' in refused


def test_3607_seconds_for_the_api_audience_are_a_year(server) -> None:
    assert "31536000s" in live.denial_message(server, review(audiences=[INTERNAL_AUDIENCE], expirationSeconds=3607))
    assert live.denial_message(server, review(audiences=["https://vault.example.com"], expirationSeconds=3607)) == ""
