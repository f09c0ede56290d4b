"""Events on owners of pods and on the policy: repetitions are counted, and nobody waits for them."""

import re
from collections.abc import Iterator

import pytest

from tests.cluster.event_api import EventApi, FakeClock
from tests.serving import eventually
from webhook.cluster import event_recorder
from webhook.cluster.api_types import ConfigMap, Metadata
from webhook.cluster.event_recorder import (
    EVENT_INTERVAL,
    MAX_EVENTS,
    MAX_IN_NAMESPACE,
    MAX_TRIES,
    EventRecorder,
    policy_message,
)
from webhook.cluster.transport import ApiError
from webhook.core.k8s_types import OwnerReference
from webhook.core.owner_event import EXEMPTED, REJECTED, OwnerEvent

OWNER = OwnerReference(api_version="apps/v1", kind="ReplicaSet", name="app-1", uid="u1", controller=True)


def owner_event(
    message="no\n[tokenguard 7ceb3af7]", *, namespace="demo", name="app-1", reason=REJECTED, about="inject"
):
    return OwnerEvent(
        namespace, OwnerReference(api_version="apps/v1", kind="ReplicaSet", name=name, uid="u1"), reason, about, message
    )


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch):
    monkeypatch.setattr(event_recorder, "delay_after", lambda _failures, _wanted: 0.0)


def counts(stored):
    return [event["count"] for event in stored.events.values()]


def test_repeated_event_is_counted_and_written_once_a_minute() -> None:
    stored, clock = EventApi(), FakeClock()
    events = EventRecorder(stored, clock)
    events.record(owner_event("first"))
    events.record(owner_event("second"))
    assert events.write_next() == 0.0
    for number in range(3):
        events.record(owner_event(f"later {number}"))
    assert events.write_next() == EVENT_INTERVAL
    assert counts(stored) == [2]
    clock.now += EVENT_INTERVAL
    assert events.write_next() == 0.0
    assert counts(stored) == [5]
    assert [event["message"] for event in stored.events.values()] == ["later 2"]
    assert events.write_next() is None


def test_event_is_shared_per_owner_reason_and_rules() -> None:
    stored = EventApi()
    for _ in range(3):
        worker = EventRecorder(stored)
        worker.record(owner_event())
        worker.write_next()
    assert counts(stored) == [3]
    worker.record(owner_event(about="kubelet-hostpath"))
    worker.record(owner_event(reason=EXEMPTED))
    worker.record(owner_event(name="app-2"))
    while worker.write_next() == 0.0:
        pass
    assert sorted(counts(stored)) == [1, 1, 1, 3]


@pytest.mark.parametrize("end", ["\n[tokenguard 7ceb3af7: see]", "\nfor help, contact us\n[tokenguard 7ceb3af7: see]"])
def test_long_event_keeps_owner_help_and_decision_id(end) -> None:
    stored = EventApi()
    events = EventRecorder(stored)
    events.record(owner_event("ü" * 5000 + end))
    events.write_next()
    [(where, event)] = stored.events.items()
    assert where.startswith("/api/v1/namespaces/demo/events/app-1.")
    assert event["involvedObject"] == {
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "namespace": "demo", "name": "app-1", "uid": "u1",
    }  # fmt: skip
    assert (event["type"], event["reason"]) == ("Warning", "PodRejected")
    assert len(event["message"].encode()) <= 1024
    assert event["message"].endswith(f"…{end}")


def test_conflict_counts_from_the_current_event(caplog) -> None:
    stored = EventApi()
    first, second = EventRecorder(stored), EventRecorder(stored)
    first.record(owner_event())
    first.write_next()
    stored.failures = [None, None, ApiError(409, "HTTP 409: conflict")]
    second.record(owner_event())
    second.write_next()
    assert counts(stored) == [2]
    assert caplog.text == ""


def test_rejected_event_is_retried_then_dropped_and_logged(caplog) -> None:
    stored = EventApi(ApiError(0, "away"), ApiError(429, "busy"), ApiError(503, "not yet"))
    events = EventRecorder(stored)
    events.record(owner_event())
    events.write_next()
    assert counts(stored) == [1]
    assert caplog.text == ""
    stored.failures = [ApiError(0, "away")] * MAX_TRIES
    events.record(owner_event(name="app-2"))
    events.write_next()
    assert counts(stored) == [1]
    assert f"after {MAX_TRIES} tries" in caplog.text


def test_answer_that_is_no_event_is_retried(caplog) -> None:
    stored = EventApi()
    worker = EventRecorder(stored)
    for _ in range(2):
        worker.record(owner_event())
        worker.write_next()
        worker = EventRecorder(stored)
    good, answers = stored.get, [b"<html>", b"[]"]
    stored.get = lambda *request: answers.pop() if answers else good(*request)
    worker.record(owner_event())
    worker.write_next()
    assert counts(stored) == [3]
    assert caplog.text == ""


def test_event_name_is_valid() -> None:
    stored = EventApi()
    events = EventRecorder(stored)
    events.record(owner_event(name="a" * 199 + "-tail"))
    events.write_next()
    [where] = stored.events
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", where.rpartition("/")[2])


def test_permanent_error_is_logged_once_missing_namespace_never(caplog) -> None:
    forbidden = ApiError(403, "HTTP 403: events is forbidden")
    stored = EventApi(forbidden, forbidden, ApiError(404, "HTTP 404: gone"))
    events = EventRecorder(stored)
    for number in range(3):
        events.record(owner_event(name=f"app-{number}"))
        events.write_next()
    assert stored.events == {}
    assert caplog.text.count("forbidden") == 1
    assert "404" not in caplog.text


def test_pending_events_are_bounded_and_dropped_ones_counted(caplog) -> None:
    stored, clock = EventApi(), FakeClock()
    events = EventRecorder(stored, clock)
    for number in range(MAX_EVENTS + 7):
        events.record(owner_event(namespace=f"demo-{number % 11}", name=f"app-{number}"))
    while events.write_next() == 0.0:
        pass
    assert len(stored.events) == MAX_EVENTS
    clock.now += EVENT_INTERVAL + 1
    events.write_next()
    assert "dropped 7 Events" in caplog.text
    assert len(caplog.records) == 1
    events.record(owner_event(name="another"))
    events.write_next()
    assert len(stored.events) == MAX_EVENTS + 1


@pytest.mark.covers("failure-modes: Events", "threat-model: Event flood")
def test_flood_of_one_namespace_delays_no_other() -> None:
    stored = EventApi()
    events = EventRecorder(stored, FakeClock())
    for number in range(MAX_EVENTS):
        events.record(owner_event(namespace="flood", name=f"app-{number}"))
    events.record(owner_event(namespace="other"))
    events.record(owner_event(namespace="third"))
    for _ in range(3):
        events.write_next()
    assert {where.split("/")[4] for where in stored.events} == {"flood", "other", "third"}
    while events.write_next() == 0.0:
        pass
    assert len(stored.events) == MAX_IN_NAMESPACE + 2


def test_pod_events_leave_out_what_is_too_large_and_log_it(caplog) -> None:
    stored = EventApi()
    events = EventRecorder(stored, FakeClock())
    events.record(owner_event(name="a" * 1_000_000))
    events.record(owner_event())
    events.write_next()
    assert [where.rpartition("/")[2].split(".")[0] for where in stored.events] == ["app-1"]
    assert "dropped 1 Events" in caplog.text


def test_events_are_written_by_a_thread_until_stopped() -> None:
    stored = EventApi()
    events = EventRecorder(stored)
    events.start()
    events.record(owner_event())
    eventually(lambda: counts(stored) == [1])
    events.stop()


FOUND = ConfigMap(metadata=Metadata("token-policy", "tokenguard", "uid", "7"))


def test_policy_errors_of_several_replicas_are_one_event(caplog) -> None:
    stored = EventApi()
    for _ in range(2):
        replica = EventRecorder(stored)
        replica.record_policy_errors(FOUND, ['line 3: unknown key "modee"'], "d" * 64)
        replica.write_next()
    [(path, event)] = stored.events.items()
    assert path.startswith("/api/v1/namespaces/tokenguard/events/token-policy.")
    assert event["involvedObject"] == {
        "apiVersion": "v1", "kind": "ConfigMap", "namespace": "tokenguard", "name": "token-policy", "uid": "uid",
    }  # fmt: skip
    assert (event["type"], event["reason"], event["count"]) == ("Warning", "PolicyRejected", 1)
    assert 'line 3: unknown key "modee"' in event["message"]
    assert caplog.text == ""


def test_other_policy_errors_are_another_event() -> None:
    stored = EventApi()
    recorder = EventRecorder(stored)
    for digest in ("d" * 64, "e" * 64):
        recorder.record_policy_errors(FOUND, ['line 3: unknown key "modee"'], digest)
        recorder.write_next()
    assert len(stored.events) == 2


def test_message_fits_the_limit_of_an_event() -> None:
    message = policy_message([f"line {number}: ü{'x' * 50}" for number in range(100)])
    assert len(message.encode()) <= 1024
    shown = message.count("line ")
    assert shown > 10
    assert message.endswith(f"and {100 - shown} more")
    assert "line 0" in policy_message(["line 0: " + "x" * 90])
    assert len(policy_message(["x" * 5000]).encode()) <= 1024


def test_message_of_many_errors_reads_only_those_that_fit() -> None:
    class Mistakes(list[str]):
        read = 0

        def __iter__(self) -> Iterator[str]:
            for mistake in super().__iter__():
                self.read += 1
                yield mistake

    mistakes = Mistakes(f"line {number}" for number in range(100_000))
    shown = policy_message(mistakes).count("line ")
    assert shown > 10
    assert mistakes.read <= shown + 3
    assert policy_message(["x" * 5000]).endswith("\nand 1 more")
    assert policy_message([]).endswith("stays in force:")
