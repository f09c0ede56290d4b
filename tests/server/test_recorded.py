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


def test_the_table_names_every_recorded_review():
    files = {f"{name}.{resource}" for name, _, resource, _ in (one.name.split(".") for one in RECORDED.iterdir())}
    assert files == set(EXPECTED)


@pytest.mark.parametrize("case", EXPECTED)
def test_mutate_decides_as_the_table_says(server, case):
    response = server.review("/mutate?timeout=10s", recorded(case, "mutate"))
    assert decided(response) == EXPECTED[case].mutate
    assert response["allowed"] is True
    assert bool(patch_of(response)) is EXPECTED[case].mutate.startswith("patched")


@pytest.mark.parametrize("case", EXPECTED)
def test_validate_decides_as_the_table_says_and_never_patches(server, case):
    body = recorded(case, "validate")
    response = server.review("/validate?timeout=10s", body)
    assert decided(response) == EXPECTED[case].validate
    assert response["allowed"] is not EXPECTED[case].validate.startswith("denied")
    assert response["uid"] == json.loads(body)["request"]["uid"]
    assert "patch" not in response


@pytest.mark.parametrize("case", EXPECTED)
def test_what_mutate_has_patched_is_patched_no_more_and_then_judged_for_good(server, case):
    body = recorded(case, "mutate")
    once = patched(body, server.review("/mutate", body))
    assert patch_of(server.review("/mutate", once)) == []
    assert decided(server.review("/validate", once)) == EXPECTED[case].finally_


def test_a_denial_says_what_is_wrong_and_by_which_id_it_is_found(server):
    response = server.review("/validate", recorded("secret-legacy.secrets", "validate"))
    assert response["status"]["code"] == 403
    assert response["status"]["reason"] == "Forbidden"
    assert response["status"]["message"].startswith("legacy-token-secret: type ")
    assert response["status"]["message"].endswith(
        f"\n[tokenguard {response['uid'][:8]}: see 'tokenguard rules legacy-token-secret']"
    )
