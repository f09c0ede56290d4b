"""The recorded reviews through the real HTTPS server."""

import json

import jsonpatch
import pytest

from tests.recorded_reviews import EXPECTED, RECORDED, decided, recorded
from tests.serving import patch_of


def patched(body: bytes, response) -> bytes:
    review = json.loads(body)
    review["request"]["object"] = jsonpatch.apply_patch(review["request"]["object"], patch_of(response))
    return json.dumps(review).encode()


def test_expectations_cover_every_recorded_review():
    files = {f"{name}.{resource}" for name, _, resource, _ in (file.name.split(".") for file in RECORDED.iterdir())}
    assert files == set(EXPECTED)


@pytest.mark.parametrize("case", EXPECTED)
def test_mutate_of_a_recorded_review_decides_as_expected(server, case):
    response = server.review("/mutate?timeout=10s", recorded(case, "mutate"))
    assert decided(response) == EXPECTED[case].mutate
    assert response["allowed"] is True
    assert bool(patch_of(response)) is EXPECTED[case].mutate.startswith("patched")


@pytest.mark.parametrize("case", EXPECTED)
def test_validate_of_a_recorded_review_decides_as_expected(server, case):
    body = recorded(case, "validate")
    response = server.review("/validate?timeout=10s", body)
    assert decided(response) == EXPECTED[case].validate
    assert response["allowed"] is not EXPECTED[case].validate.startswith("denied")
    assert response["uid"] == json.loads(body)["request"]["uid"]
    assert "patch" not in response


@pytest.mark.parametrize("case", EXPECTED)
def test_patched_review_is_not_patched_again_and_is_validated(server, case):
    body = recorded(case, "mutate")
    patched_once = patched(body, server.review("/mutate", body))
    assert patch_of(server.review("/mutate", patched_once)) == []
    assert decided(server.review("/validate", patched_once)) == EXPECTED[case].finally_


def test_denial_has_reason_and_decision_id(server):
    response = server.review("/validate", recorded("secret-legacy.secrets", "validate"))
    assert response["status"]["code"] == 403
    assert response["status"]["reason"] == "Forbidden"
    assert response["status"]["message"].startswith("legacy-token-secret: type ")
    assert response["status"]["message"].endswith(
        f"\n[tokenguard {response['uid'][:8]}: see 'tokenguard rules legacy-token-secret']"
    )
