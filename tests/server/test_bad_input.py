"""Whatever is sent, there is an answer that fits, and the next request works."""

import contextlib
import json
import time

import pytest

from tests.recorded_reviews import recorded
from tests.server.faults.load import connections_of
from tests.serving import JSON, POST, eventually, raw_connection, read_to_the_end, serve

REVIEW = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}
POD = json.loads(recorded("pod-plain.pods", "mutate"))


def of(**changes):
    return json.dumps({**REVIEW, "request": {**POD["request"], **changes}}).encode()


UNANSWERABLE = {
    "empty": b"",
    "not JSON": b"{nonsense",
    "not text": b"\xff\xfe\x00",
    "cut short": json.dumps(POD).encode()[:-40],
    "a list": b"[]",
    "a number": b"1e999",
    "another kind": b'{"kind":"Pod","apiVersion":"v1"}',
    "another version": json.dumps({**POD, "apiVersion": "admission.k8s.io/v1beta1"}).encode(),
    "no request": json.dumps(REVIEW).encode(),
    "no uid": of(uid=""),
    "uid of another type": of(uid=7),
    "nested without end": b'{"request":' + b"[" * 200_000,
    "lone surrogate": json.dumps(POD).encode().replace(b'"plain"', b'"\\ud800"'),
}


@pytest.mark.parametrize("path", ["/mutate", "/validate"])
@pytest.mark.parametrize("body", UNANSWERABLE.values(), ids=UNANSWERABLE)
@pytest.mark.covers("failure-modes: not a review", "failure-modes: odd JSON")
def test_invalid_review_gets_400_with_a_one_line_reason(server, path, body):
    reply = server.request("POST", path, body, JSON)
    assert reply.status == 400
    assert reply.headers["Content-Type"] == "application/json"
    assert (reply.json["kind"], reply.json["code"]) == ("Status", reply.status)
    assert b"\n" not in reply.body
    assert b"Traceback" not in reply.body


UNREADABLE = {
    "no object": of(object=None),
    "object of another type": of(object=["pod"]),
    "volumes of another type": of(object={"spec": {"volumes": "all"}}),
    "number in place of a name": of(object={"metadata": {"name": 7}}),
    "request of another shape": of(userInfo="admin"),
    "nested without end": of(object={"metadata": {"name": "deep"}}).replace(b'"deep"', b"[" * 5000 + b"]" * 5000),
}


@pytest.mark.parametrize("path", ["/mutate", "/validate"])
@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.covers("failure-modes: odd JSON", "threat-model: unreadable object")
def test_review_of_an_unreadable_object_is_denied_by_its_uid(server, path, body):
    response = server.review(path, body)
    assert (response["uid"], response["allowed"]) == (POD["request"]["uid"], False)
    assert (response["status"]["code"], response["status"]["reason"]) == (400, "BadRequest")
    assert f"[tokenguard {response['uid'][:8]}]" in response["status"]["message"]


REFUSED = {
    "review by GET": ("GET", "/mutate", {}, 405),
    "review by PUT": ("PUT", "/validate", JSON, 405),
    "review by OPTIONS": ("OPTIONS", "/validate", {}, 405),
    "health by POST": ("POST", "/healthz", JSON, 405),
    "no such page": ("GET", "/", {}, 404),
    "no such page by POST": ("POST", "/mutate/", JSON, 404),
    "no content type": ("POST", "/mutate", {}, 415),
    "YAML": ("POST", "/mutate", {"Content-Type": "application/yaml"}, 415),
    "nearly JSON": ("POST", "/validate", {"Content-Type": "application/jsonp"}, 415),
    "compressed": ("POST", "/validate", {**JSON, "Content-Encoding": "gzip"}, 415),
}


@pytest.mark.parametrize(("method", "path", "headers", "status"), REFUSED.values(), ids=REFUSED)
def test_wrong_method_path_or_type_is_refused_in_json(server, method, path, headers, status):
    reply = server.request(method, path, b"{}" if method != "GET" else None, headers)
    assert reply.status == status
    assert (reply.json["kind"], reply.json["code"]) == ("Status", reply.status)
    assert ("Allow" in reply.headers) is (status == 405)


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;a=b"]
)
def test_content_type_with_parameters_is_accepted(server, content_type):
    body = recorded("pod-plain.pods", "mutate")
    assert server.request("POST", "/mutate", body, {"Content-Type": content_type}).status == 200


@pytest.mark.covers("threat-model: large bodies")
def test_body_over_the_limit_gets_413(server):
    body = b" " * (9 << 20)
    assert server.request("POST", "/mutate", body, JSON).status == 413
    reply = server.request("POST", "/validate", body, JSON)
    assert reply.status == 413
    assert reply.json["message"] == "the review exceeds 8388608 bytes (--max-body-bytes)"


@pytest.mark.parametrize("size", [1, 9 << 20])
@pytest.mark.covers("failure-modes: chunked body")
def test_chunked_body_over_the_limit_is_refused_at_once(server, size):
    reply = server.request("POST", "/validate", iter([b" " * 65536] * (size // 65536) + [b" "]), JSON)
    assert reply.status == 411
    assert reply.json["message"] == "send the body with a Content-Length"


@pytest.mark.covers("failure-modes: chunked body")
def test_chunk_without_end_is_answered_before_it_has_ended(server):
    with contextlib.closing(raw_connection(server)) as connection:
        connection.sendall(POST.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked") + b"1\r\n{\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 411")


def test_body_beyond_what_is_discarded_is_refused_at_once(server):
    with contextlib.closing(raw_connection(server)) as connection:
        connection.sendall(POST % (65 << 20))
        assert read_to_the_end(connection).startswith(b"HTTP/1.1 413")


NOT_HTTP = {
    "garbage": b"GARBAGE\r\n\r\n",
    "length that is no number": b"POST /mutate HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    "two lengths": b"POST /mutate HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "line without end": b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n",
    "header without end": b"GET / HTTP/1.1\r\nA: " + b"a" * 50_000,
    "broken chunk": b"POST /mutate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("sent", NOT_HTTP.values(), ids=NOT_HTTP)
@pytest.mark.covers("failure-modes: not a review")
def test_invalid_http_gets_4xx_and_is_disconnected(server, sent):
    with contextlib.closing(raw_connection(server)) as connection:
        connection.sendall(sent)
        answer = read_to_the_end(connection)
    assert answer.startswith(b"HTTP/1.1 4")
    assert b'{"kind":"Status","apiVersion":"v1","status":"Failure","code":4' in answer


def test_invalid_http_is_counted_a_hang_up_is_not(server):
    before = server.metric("tokenguard_requests_refused_total")
    with contextlib.closing(raw_connection(server)) as connection:
        connection.sendall(NOT_HTTP["garbage"])
        read_to_the_end(connection)
    with contextlib.closing(raw_connection(server)) as connection:
        connection.sendall(POST % 1000 + b"{")
        eventually(lambda: connections_of(server))
    eventually(lambda: not connections_of(server))
    assert server.metric("tokenguard_requests_refused_total") == before + 1


EXPECT = POST.replace(b"Host: a", b"Host: a\r\nExpect: 100-continue")


def test_expect_100_continue_is_answered(server):
    body = recorded("pod-plain.pods", "mutate")
    with contextlib.closing(raw_connection(server)) as connection:
        connection.sendall(EXPECT % len(body))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (EXPECT % (9 << 20), b"413"),
        (EXPECT.replace(b"/json", b"/yaml") % 2, b"415"),
        (EXPECT.replace(b"/mutate", b"/") % 2, b"404"),
    ],
    ids=["too large", "no JSON", "no such page"],
)
def test_expect_100_continue_of_a_refused_body_is_refused(server, head, status):
    with contextlib.closing(raw_connection(server)) as connection:
        connection.sendall(head)
        assert read_to_the_end(connection).startswith(b"HTTP/1.1 " + status)


def test_websocket_upgrade_is_answered_as_http(server):
    request = (
        b"GET /%s HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\n\r\n"
    )
    for page, status in ((b"nothing", b"404"), (b"healthz", b"200")):
        with contextlib.closing(raw_connection(server)) as connection:
            connection.sendall(request % page)
            assert read_to_the_end(connection).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    "head",
    [
        b"".join(b"X-%d: 1\r\n" % number for number in range(4000)),
        b"X-Long: " + b"a" * 17_000 + b"\r\n",
    ],
    ids=["many fields", "long field"],
)
def test_head_that_is_too_large_is_refused(server, head):
    with contextlib.closing(raw_connection(server)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
        assert read_to_the_end(connection).startswith(b"HTTP/1.1 431")


def test_head_of_a_service_mesh_is_accepted(server):
    fields = {f"X-B3-{number}": "0" * 32 for number in range(15)}
    assert server.request("GET", "/healthz", headers={"X-Forwarded-Client-Cert": "c" * 3500, **fields}).status == 200


@pytest.mark.covers("failure-modes: out of memory", "failure-modes: connections", "threat-model: large bodies")
def test_waiting_large_bodies_leave_room_for_smaller_reviews(policy_flags, tmp_path):
    body = recorded("pod-plain.pods", "mutate")
    with serve(tmp_path, *policy_flags) as server, contextlib.ExitStack() as stack:
        for _ in range(9):
            connection = stack.enter_context(contextlib.closing(raw_connection(server)))
            connection.sendall(POST % (8 << 20) + b" " * ((8 << 20) - 300))
        for size in (5_000, 40_000, 200_000):
            padded = body + b" " * (size - len(body))
            with contextlib.closing(raw_connection(server)) as connection:
                connection.sendall(POST % size)
                for piece in (padded[: size // 2], padded[size // 2 :]):
                    time.sleep(0.05)
                    connection.sendall(piece)
                assert b" 200 " in connection.recv(65536)[:15], size


@pytest.mark.covers("failure-modes: out of memory", "failure-modes: connections", "threat-model: large bodies")
def test_concurrent_bodies_are_bounded_and_whole_reviews_pass(policy_flags, tmp_path):
    body = recorded("pod-plain.pods", "mutate")
    largest = 100_000
    limit = ["--max-body-bytes", str(largest)]
    with serve(tmp_path, *policy_flags, *limit) as server, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(contextlib.closing(raw_connection(server))) for _ in range(9)]
        for connection in connections:
            connection.sendall(POST % largest + b" " * (largest - 1))
        assert server.review("/mutate", body)["allowed"]
        assert server.request("POST", "/mutate", body.ljust(largest + 1), JSON).status == 413
        for connection in connections:
            connection.sendall(b" ")
        answers = [connection.recv(65536) for connection in connections]
        assert sorted(answer[9:12] for answer in answers) == [b"400"] * 8 + [b"503"]
        assert b"connection: close" in next(answer for answer in answers if b" 503 " in answer).lower()
        large = json.dumps({**POD, "padding": "x" * 80_000}).encode()
        for _ in range(9):
            assert server.review("/mutate", large)["allowed"]


def test_bad_input_is_not_logged(server):
    log = server.log
    assert "Traceback" not in log
    assert "ERROR" not in log
