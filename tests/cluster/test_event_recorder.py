"""Events about the policy: made in the background, tried again, told of once."""

import json
import threading
from collections.abc import Iterator

from tests.cluster.fake import FakeTransport
from tests.serving import eventually
from webhook.cluster.api_types import ConfigMap, Metadata
from webhook.cluster.backoff import MAX_DELAY
from webhook.cluster.event_recorder import TRIES, PolicyEventRecorder, message
from webhook.cluster.transport import ApiError

FOUND = ConfigMap(metadata=Metadata("token-policy", "tokenguard", "uid", "7"))
DIGEST = "d" * 64
BUSY = ApiError(429, "HTTP 429: busy", retry_after=20.0)
AWAY = ApiError(0, "the API server can't be reached")


class Told:
    """What came of one Event over a transport that fails so often."""

    def __init__(self, *failures) -> None:
        self.transport = FakeTransport(*failures)
        self.waits: list[float] = []
        teller = PolicyEventRecorder(self.transport, self.waits.append)
        teller.tell(FOUND, ["line 3: modee: unknown key"], DIGEST)
        teller.tell(FOUND, ["the last one"], DIGEST)
        eventually(lambda: self.transport.posted and "the last one" in self.transport.posted[-1]["message"])

    @property
    def tries(self) -> int:
        return len(self.transport.posted) - 1


def test_policy_event_lists_the_errors_on_the_configmap() -> None:
    transport = Told().transport
    event = transport.posted[0]
    assert transport.asked[0].path == "/api/v1/namespaces/tokenguard/events"
    assert event["metadata"] == {"name": f"token-policy.{'d' * 16}", "namespace": "tokenguard"}
    assert event["involvedObject"]["resourceVersion"] == "7"
    assert "line 3: modee: unknown key" in event["message"]
    json.dumps(event)


def test_failed_event_is_retried_without_a_log_line(caplog) -> None:
    told = Told(AWAY, BUSY)
    assert told.tries == 3
    assert told.waits[0] <= 0.5
    assert 20.0 <= told.waits[1] <= 25.0
    assert caplog.text == ""


def test_event_that_keeps_failing_is_dropped_and_logged(caplog) -> None:
    told = Told(*[AWAY] * TRIES)
    assert (told.tries, len(told.waits)) == (TRIES, TRIES - 1)
    assert max(told.waits) <= MAX_DELAY
    assert caplog.text.count("no Event could be made of the policy's mistakes") == 1


def test_event_of_another_replica_is_not_retried(caplog) -> None:
    assert Told(ApiError(409, "HTTP 409: exists")).tries == 1
    assert caplog.text == ""


class Slow:
    """A transport that doesn't come to an end with an Event before it is told to."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.made = []

    def post(self, _path, body) -> bytes:
        self.may_end.wait(30)
        self.made.append(body)
        return b"{}"


def test_slow_api_server_delays_nobody_and_queue_is_bounded(caplog) -> None:
    slow = Slow()
    teller = PolicyEventRecorder(slow)
    for number in range(100):
        teller.tell(FOUND, [f"mistake {number}"], DIGEST)
    assert slow.made == []
    assert "others still wait" in caplog.text
    slow.may_end.set()
    eventually(lambda: len(slow.made) >= 20)
    assert len(slow.made) < 100


def test_message_fits_the_limit_of_an_event() -> None:
    told = message([f"line {number}: ü{'x' * 50}" for number in range(100)])
    assert len(told.encode()) <= 1024
    shown = told.count("line ")
    assert shown > 10
    assert told.endswith(f"and {100 - shown} more")
    assert "line 0" in message(["line 0: " + "x" * 90])
    assert len(message(["x" * 5000]).encode()) <= 1024


def test_message_of_many_errors_reads_only_those_that_fit() -> None:
    class Mistakes(list[str]):
        read = 0

        def __iter__(self) -> Iterator[str]:
            for mistake in super().__iter__():
                self.read += 1
                yield mistake

    mistakes = Mistakes(f"line {number}" for number in range(100_000))
    shown = message(mistakes).count("line ")
    assert shown > 10
    assert mistakes.read <= shown + 3
    assert message(["x" * 5000]).endswith("\nand 1 more")
    assert message([]).endswith("stays in force:")
