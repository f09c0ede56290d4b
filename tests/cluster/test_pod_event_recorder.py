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


def test_what_is_told_again_within_a_minute_is_added_up_and_written_then() -> None:
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


def test_several_workers_count_one_event_and_other_rules_reasons_and_owners_have_their_own() -> None:
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


def test_an_event_says_whose_it_is_and_keeps_the_decisions_id_however_long_the_rest() -> None:
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


def test_who_comes_second_counts_anew(caplog) -> None:
    stored = EventApi()
    first, second = PodEventRecorder(stored), PodEventRecorder(stored)
    first.tell(said())
    first.write_due()
    stored.failures = [None, None, ApiError(409, "HTTP 409: conflict")]
    second.tell(said())
    second.write_due()
    assert counts(stored) == [2]
    assert caplog.text == ""


def test_what_the_api_server_cannot_take_now_is_tried_again_and_given_up_with_a_line(caplog) -> None:
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


def test_an_answer_that_is_no_event_is_tried_again(caplog) -> None:
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


def test_the_name_of_an_event_is_one_that_the_api_server_takes() -> None:
    stored = EventApi()
    events = PodEventRecorder(stored)
    events.tell(said(name="a" * 199 + "-tail"))
    events.write_due()
    [where] = stored.events
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", where.rpartition("/")[2])


def test_what_it_will_never_take_is_said_once_and_a_namespace_that_is_gone_not_at_all(caplog) -> None:
    forbidden = ApiError(403, "HTTP 403: events is forbidden")
    stored = EventApi(forbidden, forbidden, ApiError(404, "HTTP 404: gone"))
    events = PodEventRecorder(stored)
    for number in range(3):
        events.tell(said(name=f"app-{number}"))
        events.write_due()
    assert stored.events == {}
    assert caplog.text.count("forbidden") == 1
    assert "404" not in caplog.text


def test_however_many_are_told_so_many_are_kept_in_mind_and_the_rest_is_counted(caplog) -> None:
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
def test_pod_events_flooded_from_one_namespace_keep_no_other_waiting() -> None:
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


def test_they_are_written_by_a_thread_of_their_own_until_it_is_stopped() -> None:
    stored = EventApi()
    events = PodEventRecorder(stored)
    events.start()
    events.tell(said())
    eventually(lambda: counts(stored) == [1])
    events.stop()
