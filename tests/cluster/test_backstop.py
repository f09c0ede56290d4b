"""The backstop without an API server: what it reports, and when it logs. control_plane/ has the rest."""

import json

import pytest

from tests.cluster.fake import FakeTransport
from webhook.cluster.backstop import Backstop, BackstopMode, BackstopState, backstop_state
from webhook.cluster.transport import ApiError
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.loader import default_policy
from webhook.export.compiler import compile_policy
from webhook.server.state import Snapshot

NOTHING = json.dumps({"items": []}).encode()
NOT_SERVED = ApiError(404, "the server could not find the requested resource")


def listed(objects) -> list[bytes]:
    kinds = [f"{phase}AdmissionPolicy{ending}" for phase in ("Mutating", "Validating") for ending in ("", "Binding")]
    return [json.dumps({"items": [obj for obj in objects if obj["kind"] == kind]}).encode() for kind in kinds]


def test_state_without_objects_is_off() -> None:
    state = backstop_state(FakeTransport(NOT_SERVED, NOT_SERVED, NOTHING, NOTHING))
    assert state == BackstopState(BackstopMode.OFF)
    assert not list(state.problems("any"))


@pytest.mark.parametrize("mode", [BackstopMode.VAP, BackstopMode.MAP])
def test_state_of_exported_objects_is_in_step_with_their_policy(mode) -> None:
    policy = default_policy()
    objects = compile_policy(policy, patched=mode is BackstopMode.MAP).objects
    state = backstop_state(FakeTransport(*listed(objects)))
    assert state.mode is mode
    assert not list(state.problems(policy.revision))
    assert list(state.problems("0" * 12)) == [f"made from policy {policy.revision}, not from 000000000000"]


def test_state_names_what_was_edited_and_counts_what_is_missing() -> None:
    objects = list(compile_policy(default_policy(), patched=False).objects)
    objects[1] = {**objects[1], "spec": {**objects[1]["spec"], "validationActions": ["Audit"]}}
    state = backstop_state(FakeTransport(*listed(objects[:-1])))
    assert list(state.problems(default_policy().revision)) == [
        f"{objects[1]['metadata']['name']} was edited",
        "1 of the exported policies and bindings are missing",
    ]


def test_reconcile_error_is_reported_each_time_and_logged_once(tmp_path, caplog) -> None:
    refused = ApiError(403, "HTTP 403: forbidden")
    reports: list[bool] = []
    transport = FakeTransport(refused, refused, NOTHING, NOTHING, NOTHING, NOTHING)
    backstop = Backstop(
        lambda: None, reports.append, tmp_path, kubeconfig=None, mode=BackstopMode.OFF, own_namespace="tokenguard",
        transport=transport,
    )  # fmt: skip
    snapshot = Snapshot(default_policy(), ClusterState())
    with caplog.at_level("INFO", "tokenguard.backstop"):
        for _ in range(3):
            backstop.reconcile_and_report(snapshot)
    assert reports == [False, False, True]
    assert caplog.messages == [
        "the backstop differs from the policy: HTTP 403: forbidden",
        "the backstop is in step with the policy again",
    ]
