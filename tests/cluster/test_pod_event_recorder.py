"""Events about pods: the same thing is one Event that is counted on, and nobody waits for it."""

import re

import pytest

from tests.cluster.event_api import EventApi, FakeClock
from tests.serving import eventually
from webhook.cluster import pod_event_recorder
from webhook.cluster.pod_event_recorder import EVERY, MAX_IN_NAMESPACE, MOST, TRIES, PodEventRecorder
from webhook.cluster.transport import ApiError
from webhook.core.k8s_types import OwnerReference
from webhook.core.owner_event import EXEMPTED, REJECTED, OwnerEvent

OWNER = OwnerReference(api_version="apps/v1", kind="ReplicaSet", name="app-1", uid="u1", controller=True)


def said(message="no\n[tokenguard 7ceb3af7]", *, namespace="demo", name="app-1", reason=REJECTED, about="inject"):
    return OwnerEvent(
        namespace, OwnerReference(api_version="apps/v1", kind="ReplicaSet", name=name, uid="u1"), reason, about, message
    )


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch):
    monkeypatch.setattr(pod_event_recorder, "delay_after", lambda _failures, _asked: 0.0)


def counts(stored):
    return [event["count"] for event in stored.events.values()]


def test_repeated_event_is_counted_and_written_once_a_minute() -> None:
    stored, clock = EventApi(), FakeClock()
    events = PodEventRecorder(stored, clock)
    events.tell(said("first"))
    events.tell(said("second"))
    assert events.write_due() == 0.0
    for number in range(3):
        events.tell(said(f"later {number}"))
    assert events.write_due() == EVERY
    assert counts(stored) == [2]
    clock.now += EVERY
    assert events.write_due() == 0.0
    assert counts(stored) == [5]
    assert [event["message"] for event in stored.events.values()] == ["later 2"]
    assert events.write_due() is None


def test_event_is_shared_per_owner_reason_and_rules() -> None:
    stored = EventApi()
    for _ in range(3):
        worker = PodEventRecorder(stored)
        worker.tell(said())
        worker.write_due()
    assert counts(stored) == [3]
    worker.tell(said(about="kubelet-hostpath"))
    worker.tell(said(reason=EXEMPTED))
    worker.tell(said(name="app-2"))
    while worker.write_due() == 0.0:
        pass
    assert sorted(counts(stored)) == [1, 1, 1, 3]


def test_long_event_keeps_owner_and_decision_id() -> None:
    stored = EventApi()
    events = PodEventRecorder(stored)
    events.tell(said("ü" * 5000 + "\n[tokenguard 7ceb3af7: see]"))
    events.write_due()
    [(where, event)] = stored.events.items()
    assert where.startswith("/api/v1/namespaces/demo/events/app-1.")
    assert event["involvedObject"] == {
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "namespace": "demo", "name": "app-1", "uid": "u1",
    }  # fmt: skip
    assert (event["type"], event["reason"]) == ("Warning", "PodRejected")
    assert len(event["message"].encode()) <= 1024
    assert event["message"].endswith("…\n[tokenguard 7ceb3af7: see]")


def test_conflict_counts_from_the_current_event(caplog) -> None:
    stored = EventApi()
    first, second = PodEventRecorder(stored), PodEventRecorder(stored)
    first.tell(said())
    first.write_due()
    stored.failures = [None, None, ApiError(409, "HTTP 409: conflict")]
    second.tell(said())
    second.write_due()
    assert counts(stored) == [2]
    assert caplog.text == ""


def test_rejected_event_is_retried_then_dropped_and_logged(caplog) -> None:
    stored = EventApi(ApiError(0, "away"), ApiError(429, "busy"), ApiError(503, "not yet"))
    events = PodEventRecorder(stored)
    events.tell(said())
    events.write_due()
    assert counts(stored) == [1]
    assert caplog.text == ""
    stored.failures = [ApiError(0, "away")] * TRIES
    events.tell(said(name="app-2"))
    events.write_due()
    assert counts(stored) == [1]
    assert f"after {TRIES} tries" in caplog.text


def test_answer_that_is_no_event_is_retried(caplog) -> None:
    stored = EventApi()
    worker = PodEventRecorder(stored)
    for _ in range(2):
        worker.tell(said())
        worker.write_due()
        worker = PodEventRecorder(stored)
    good, answers = stored.get, [b"<html>", b"[]"]
    stored.get = lambda *asked: answers.pop() if answers else good(*asked)
    worker.tell(said())
    worker.write_due()
    assert counts(stored) == [3]
    assert caplog.text == ""


def test_event_name_is_valid() -> None:
    stored = EventApi()
    events = PodEventRecorder(stored)
    events.tell(said(name="a" * 199 + "-tail"))
    events.write_due()
    [where] = stored.events
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", where.rpartition("/")[2])


def test_permanent_error_is_logged_once_missing_namespace_never(caplog) -> None:
    forbidden = ApiError(403, "HTTP 403: events is forbidden")
    stored = EventApi(forbidden, forbidden, ApiError(404, "HTTP 404: gone"))
    events = PodEventRecorder(stored)
    for number in range(3):
        events.tell(said(name=f"app-{number}"))
        events.write_due()
    assert stored.events == {}
    assert caplog.text.count("forbidden") == 1
    assert "404" not in caplog.text


def test_pending_events_are_bounded_and_dropped_ones_counted(caplog) -> None:
    stored, clock = EventApi(), FakeClock()
    events = PodEventRecorder(stored, clock)
    for number in range(MOST + 7):
        events.tell(said(namespace=f"demo-{number % 11}", name=f"app-{number}"))
    while events.write_due() == 0.0:
        pass
    assert len(stored.events) == MOST
    clock.now += EVERY + 1
    events.write_due()
    assert "7 Events about pods were left out" in caplog.text
    assert len(caplog.records) == 1
    events.tell(said(name="another"))
    events.write_due()
    assert len(stored.events) == MOST + 1


@pytest.mark.covers("failure-modes: Events about pods", "threat-model: Event flood")
def test_flood_of_one_namespace_delays_no_other() -> None:
    stored = EventApi()
    events = PodEventRecorder(stored, FakeClock())
    for number in range(MOST):
        events.tell(said(namespace="flood", name=f"app-{number}"))
    events.tell(said(namespace="other"))
    events.tell(said(namespace="third"))
    for _ in range(3):
        events.write_due()
    assert {where.split("/")[4] for where in stored.events} == {"flood", "other", "third"}
    while events.write_due() == 0.0:
        pass
    assert len(stored.events) == MAX_IN_NAMESPACE + 2


def test_pod_events_leave_out_what_is_too_large_and_log_it(caplog) -> None:
    stored = EventApi()
    events = PodEventRecorder(stored, FakeClock())
    events.tell(said(name="a" * 1_000_000))
    events.tell(said())
    events.write_due()
    assert [where.rpartition("/")[2].split(".")[0] for where in stored.events] == ["app-1"]
    assert "1 Events about pods were left out" in caplog.text


def test_events_are_written_by_a_thread_until_stopped() -> None:
    stored = EventApi()
    events = PodEventRecorder(stored)
    events.start()
    events.tell(said())
    eventually(lambda: counts(stored) == [1])
    events.stop()
