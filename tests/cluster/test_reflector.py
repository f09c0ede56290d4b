"""List and watch, over a transport that does all that a real one may do."""

import threading

import pytest

from tests.cluster.fake import FakeTransport, bookmark, error, event, meta, page
from webhook.cluster import backoff
from webhook.cluster.api_client import WATCH_TIMEOUT
from webhook.cluster.api_types import SECRETS
from webhook.cluster.backoff import FIRST_DELAY, INFORMER_GROWTH, MAX_DELAY, UNREACHABLE_DELAY, Reachability
from webhook.cluster.reflector import Reflector, SyncCallbacks
from webhook.cluster.transport import ApiError

GONE = ApiError(410, "too old")
LOST = ApiError(0, "lost")
REFUSED = ApiError(0, "connection refused", unreachable=True)


class Names:
    """A store of names that counts its updates."""

    def __init__(self) -> None:
        self.now: set[str] = set()
        self.batches: list[int] = []

    def replace(self, objects) -> None:
        self.now = {obj.metadata.name for obj in objects}

    def apply(self, changes) -> None:
        self.batches.append(len(changes))
        for obj, deleted in changes:
            (self.now.discard if deleted else self.now.add)(obj.metadata.name)


class Run:
    """A reflector that ran until its API server had nothing left to say."""

    def __init__(self, *answers, store=None) -> None:
        self.store = store or Names()
        self.waits: list[float] = []
        self.failures: list[str] = []
        self.heard = 0
        self.transport = FakeTransport(*answers)
        outcome = SyncCallbacks(self._hear, self.failures.append)
        reflector = Reflector(SECRETS, self.store, self.transport, outcome, self.waits.append)
        self.transport.ran_out = reflector.stop
        reflector.run()

    def _hear(self) -> None:
        self.heard += 1

    @property
    def kinds(self) -> list[str]:
        return [request.method for request in self.transport.requests][:-1]  # the last had no answer

    @property
    def versions(self) -> list[str]:
        return [request.query["resourceVersion"] for request in self.transport.requests if request.method == "watch"]


def test_secrets_are_requested_by_type_as_metadata() -> None:
    listed, watched = Run(page(meta("a"))).transport.requests
    for request in (listed, watched):
        assert request.path == "/api/v1/secrets"
        assert request.query["fieldSelector"] == "type=kubernetes.io/service-account-token"
    assert listed.accept == "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    assert watched.accept == "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    assert watched.query["allowWatchBookmarks"] == "true"


def test_list_is_read_in_pages() -> None:
    run = Run(page(meta("a"), following="next"), page(meta("b"), version="11"))
    assert run.store.now == {"a", "b"}
    assert [request.query.get("continue") for request in run.transport.requests[:2]] == [None, "next"]
    assert run.versions == ["11"]


def test_broken_list_leaves_the_known_state() -> None:
    run = Run(page(meta("a")), GONE, page(meta("b"), following="next"), LOST)
    assert run.store.now == {"a"}


def test_list_whose_pages_expire_is_requested_whole() -> None:
    run = Run(page(meta("a"), following="next"), GONE, page(meta("b"), version="12"))
    assert run.store.now == {"b"}
    assert run.kinds == ["list", "list", "list"]
    assert [(request.query.get("limit"), request.query.get("continue")) for request in run.transport.requests[:3]] == [
        ("2000", None), ("2000", "next"), (None, None),
    ]  # fmt: skip
    assert run.transport.requests[2].query["fieldSelector"] == "type=kubernetes.io/service-account-token"
    assert run.versions == ["12"]
    assert run.failures == []


def test_whole_list_that_fails_is_restarted_in_pages() -> None:
    run = Run(page(meta("a"), following="next"), GONE, LOST, page(meta("b")))
    assert run.store.now == {"b"}
    assert [request.query.get("limit") for request in run.transport.requests[:4]] == ["2000", "2000", None, "2000"]
    assert (run.failures, len(run.waits)) == (["lost"], 1)


def test_refused_page_is_requested_after_retry_after() -> None:
    run = Run(page(meta("a"), following="next"), ApiError(429, "busy", retry_after=7.0), LOST, page(meta("b")))
    assert run.store.now == {"a", "b"}
    assert [request.query.get("continue") for request in run.transport.requests[:4]] == [None, "next", "next", "next"]
    assert run.failures == ["busy", "lost"]
    assert 7.0 <= run.waits[0] <= 8.75


def test_page_that_keeps_being_refused_restarts_the_list() -> None:
    run = Run(page(meta("a"), following="next"), *[LOST] * 4, page(meta("b")))
    assert run.store.now == {"b"}
    assert [request.query.get("continue") for request in run.transport.requests[:6]] == [None, *["next"] * 4, None]


def listed_not_older_than(run) -> list[str | None]:
    """Return the version that each list must be as new as; None: of a further page, or as new as etcd's."""
    lists = [request.query for request in run.transport.requests if request.method == "list"]
    return [
        query["resourceVersion"]
        if query.get("resourceVersionMatch") == "NotOlderThan"
        else query.get("resourceVersion")
        for query in lists
    ]


def test_first_list_may_come_from_the_watch_cache() -> None:
    run = Run(page(meta("a"), following="next"), page(meta("b")))
    assert listed_not_older_than(run) == ["1", None]


def test_list_after_an_expired_watch_is_not_older_than_the_state() -> None:
    run = Run(page(meta("a")), [event("ADDED", meta("b", version="20")), error(410)], page(meta("c"), version="30"))
    assert listed_not_older_than(run)[:2] == ["1", "20"]


def test_list_after_a_restored_etcd_may_be_older_than_the_state() -> None:
    refused = ApiError(504, "Too large resource version")
    run = Run(page(meta("a"), version="900"), GONE, *[refused] * 4, page(meta("b"), version="30"))
    assert listed_not_older_than(run)[:6] == ["1", *["900"] * 4, "1"]
    assert run.store.now == {"b"}


def test_events_that_arrive_together_are_applied_together() -> None:
    events = event("ADDED", meta("b", version="11")) + event("DELETED", meta("a", version="12"))
    run = Run(page(meta("a")), [events])
    assert run.store.now == {"b"}
    assert run.store.batches == [2]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_events_split_anywhere_are_joined(size) -> None:
    events = event("ADDED", meta("b", version="11")) + event("ADDED", meta("ü", version="12"))
    run = Run(page(meta("a")), [events[at : at + size] for at in range(0, len(events), size)])
    assert run.store.now == {"a", "b", "ü"}


def test_broken_watch_resumes_at_the_last_version_or_bookmark() -> None:
    run = Run(page(), [event("ADDED", meta("a", version="11")), LOST], [bookmark("20"), LOST], LOST)
    assert run.versions == ["10", "11", "20", "20"]
    assert run.kinds == ["list", "watch", "watch", "watch"]


@pytest.mark.parametrize("gone", [GONE, [error(410)]], ids=["as a status", "as an event"])
@pytest.mark.covers("failure-modes: API server misbehaves")
def test_gone_version_is_listed_again_without_a_failure(gone) -> None:
    run = Run(page(meta("a")), gone, page(meta("b"), version="30"))
    assert run.store.now == {"b"}
    assert run.kinds == ["list", "watch", "list"]
    assert run.versions == ["10", "30"]
    assert run.failures == []


def test_events_before_an_error_in_one_chunk_are_applied() -> None:
    run = Run(page(), [event("ADDED", meta("a", version="11")) + error(500, "etcd")])
    assert run.store.now == {"a"}
    assert run.failures == ["etcd"]
    assert run.versions == ["10", "11"]


def test_version_that_keeps_being_refused_is_listed_again() -> None:
    refused = ApiError(504, "Too large resource version")
    run = Run(page(), *[refused] * 4, page(version="3"))
    assert run.kinds == ["list", *["watch"] * 4, "list"]
    assert run.versions[-1] == "3"


def test_version_refused_during_an_outage_is_kept() -> None:
    run = Run(page(), *[LOST, LOST, ApiError(504, "gateway timeout")] * 4)
    assert run.kinds == ["list", *["watch"] * 12]


@pytest.mark.covers("failure-modes: API server unreachable")
def test_unreachable_server_causes_no_list() -> None:
    run = Run(page(), *[LOST] * 20)
    assert run.kinds == ["list", *["watch"] * 20]


@pytest.mark.covers("failure-modes: API server misbehaves")
def test_waits_grow_with_jitter_up_to_a_limit() -> None:
    waits = Run(page(), *[LOST] * 12).waits
    full = [min(MAX_DELAY, FIRST_DELAY * INFORMER_GROWTH**number) for number in range(len(waits))]
    assert all(whole / 2 <= wait <= whole for wait, whole in zip(waits, full, strict=True))
    assert full[-1] == MAX_DELAY
    assert len({wait / whole for wait, whole in zip(waits, full, strict=True)}) > 1


@pytest.mark.covers("failure-modes: API server unreachable")
def test_waits_while_unreachable_stay_short_and_jittered() -> None:
    waits = Run(page(), *[REFUSED] * 100).waits
    assert max(waits) <= UNREACHABLE_DELAY
    assert min(waits) >= FIRST_DELAY / 2
    assert len(set(waits)) > 50


def test_waits_after_refusals_start_short_behind_an_outage() -> None:
    run = Run(page(), *[REFUSED] * 20, ApiError(500, "starting"), REFUSED, ApiError(500, "starting"))
    assert run.waits[20] <= FIRST_DELAY
    assert run.waits[22] <= FIRST_DELAY * INFORMER_GROWTH


@pytest.mark.covers("failure-modes: API server misbehaves")
def test_waits_after_refusals_grow_across_failed_connections() -> None:
    waits = Run(page(), *[ApiError(503, "overloaded"), REFUSED] * 12).waits
    assert waits[22] > UNREACHABLE_DELAY


def test_refusals_before_an_outage_delay_none_after_it() -> None:
    waits = Run(page(), *[ApiError(403, "forbidden")] * 20, *[REFUSED] * 3, ApiError(403, "starting")).waits
    assert waits[19] > FIRST_DELAY
    assert waits[23] <= FIRST_DELAY


def test_list_after_refusals_ends_their_count() -> None:
    waits = Run(*[ApiError(403, "forbidden")] * 20, page(), ApiError(500, "starting")).waits
    assert waits[19] > FIRST_DELAY
    assert waits[20] <= FIRST_DELAY


def test_expired_version_is_listed_soon_despite_refusals() -> None:
    waits = Run(page(), *[ApiError(500, "starting")] * 10, GONE, page()).waits
    assert waits[9] > FIRST_DELAY
    assert waits[10] <= FIRST_DELAY


@pytest.mark.parametrize("watch", [GONE, [b"<html>\n"]], ids=["expired", "unreadable"])
def test_lists_without_a_working_watch_are_made_less_often(watch) -> None:
    waits = Run(*[page(), watch] * 12).waits
    assert waits[0] <= FIRST_DELAY
    assert waits[-2] > 4 * FIRST_DELAY


def test_retry_after_is_obeyed_behind_an_outage() -> None:
    assert Run(page(), *[REFUSED] * 20, ApiError(429, "busy", retry_after=40.0)).waits[20] >= 40.0


class Waiting(FakeTransport):
    """Raises an error at the first request, and answers the others."""

    def __init__(self, error, *answers) -> None:
        super().__init__(*answers)
        self.error = error

    def get(self, path, query, accept) -> bytes:
        if self.error:
            error, self.error = self.error, None
            raise error
        return super().get(path, query, accept)


@pytest.mark.parametrize(("error", "woken"), [
    pytest.param(REFUSED, True, id="unreachable"),
    pytest.param(ApiError(429, "busy", retry_after=600.0), False, id="refused"),
])  # fmt: skip
@pytest.mark.covers("failure-modes: API server unreachable")
def test_answer_to_one_informer_ends_waits_for_connections_only(monkeypatch, error, woken) -> None:
    monkeypatch.setattr(backoff, "UNREACHABLE_DELAY", 600.0)
    monkeypatch.setattr(backoff, "FIRST_DELAY", 600.0)
    monkeypatch.setattr(backoff, "MAX_DELAY", 600.0)
    reachability, listed, waits = Reachability(), threading.Event(), threading.Event()
    transport = Waiting(error, page(meta("a")))
    outcome = SyncCallbacks(listed.set, lambda _why: waits.set())
    reflector = Reflector(SECRETS, Names(), transport, outcome, reachability=reachability)
    thread = threading.Thread(target=reflector.run)
    thread.start()
    assert waits.wait(10)
    reached = False
    for _ in range(20):
        reachability.note_answer()  # as the informer of another resource does
        reached = reached or listed.wait(0.05)
    reflector.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert reached == woken


@pytest.mark.parametrize("answer", [page(), GONE], ids=["list", "refusal"])
def test_answered_request_is_noted_for_the_others(answer) -> None:
    noted = []

    class Noting(Reachability):
        def note_answer(self) -> None:
            noted.append(1)

    transport = FakeTransport(answer)
    reflector = Reflector(
        SECRETS, Names(), transport, SyncCallbacks(lambda: None, lambda _: None), lambda _: None, reachability=Noting()
    )
    transport.ran_out = reflector.stop
    reflector.run()
    assert noted == [1]


def test_waits_are_short_after_a_received_event() -> None:
    run = Run(page(), *[LOST] * 8, [bookmark("11"), LOST])
    assert run.waits[7] > FIRST_DELAY
    assert run.waits[8] <= FIRST_DELAY


def test_waits_are_short_after_a_long_silent_watch(monkeypatch) -> None:
    answers = (page(), *[LOST] * 8, [LOST])
    assert Run(*answers).waits[8] > FIRST_DELAY
    monkeypatch.setattr("webhook.cluster.reflector.LASTING_SECONDS", -1.0)
    assert Run(*answers).waits[8] <= FIRST_DELAY


@pytest.mark.covers("failure-modes: API server misbehaves")
def test_retry_after_is_obeyed() -> None:
    [waited] = Run(ApiError(429, "busy", retry_after=40.0)).waits
    assert 40.0 <= waited <= 50.0


def test_retry_after_of_a_day_is_limited_to_minutes() -> None:
    [waited] = Run(ApiError(503, "closed", retry_after=86_400.0)).waits
    assert waited <= 75.0


def test_watch_that_ends_at_once_is_repeated_after_a_pause() -> None:
    run = Run(page(), [], [], [])
    assert len(run.waits) == len(run.failures) == 3


def test_short_watch_with_an_event_is_no_failure() -> None:
    run = Run(page(), [bookmark("11")], [bookmark("12")])
    assert [wait <= FIRST_DELAY for wait in run.waits] == [True, True]
    assert run.failures == []


def test_full_objects_instead_of_metadata_are_refused() -> None:
    run = Run(page(meta("a"), kind="SecretList"))
    assert run.store.now == set()
    assert "the API server sent SecretList instead of PartialObjectMetadataList" in run.failures[0]
    run = Run(page(), [event("ADDED", meta("a"), kind="Secret", data={"token": "x"})])
    assert run.store.now == set()


@pytest.mark.covers("failure-modes: API server misbehaves")
def test_invalid_json_answer_is_retried(caplog) -> None:
    run = Run(page(), [b"<html>\n"], page(meta("b")))
    assert run.store.now == {"b"}
    assert "cannot use the API server's answer: DecodeError" in caplog.text


def test_every_event_marks_the_state_as_synced() -> None:
    assert Run(page(), [bookmark("11"), bookmark("12"), LOST]).heard == 3


def test_watch_that_ends_in_order_marks_the_state_as_synced(monkeypatch) -> None:
    assert Run(page(), [], LOST).heard == 1
    monkeypatch.setattr("webhook.cluster.reflector.SHORT_SECONDS", -1.0)
    assert Run(page(), [], [], LOST).heard == 3
    assert Run(page(), [LOST], [error(500)]).heard == 1


def test_watch_timeout_is_shorter_than_the_silence_limit() -> None:
    [request] = Run(page(), []).transport.requests[1:2]
    assert 0 < int(request.query["timeoutSeconds"]) < WATCH_TIMEOUT - 20


def test_overloaded_server_after_an_outage_gets_no_list() -> None:
    run = Run(page(), *[LOST] * 4, *[ApiError(429, "busy")] * 5)
    assert run.kinds == ["list", *["watch"] * 9]


def test_list_that_never_finishes_is_reported() -> None:
    assert Run(*[ApiError(410, "the continue token is too old")] * 3).failures == ["the continue token is too old"] * 3
