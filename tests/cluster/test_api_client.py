"""The transport over the real client, against a plain HTTP server."""

import base64
import contextlib
import datetime as dt
import http.server
import json
import threading

import pytest

from tests.cluster.http_api import ApiRequestHandler
from tests.kubeconfigs import write_kubeconfig
from webhook.cluster.api_client import ApiClient
from webhook.cluster.transport import ApiError

SILENCE = 0.3


@pytest.fixture
def api():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiRequestHandler) as server:
        server.date = ""
        server.token, server.over, server.headers_seen, server.bodies = "good", threading.Event(), [], []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def kubeconfig(api, tmp_path):
    (tmp_path / "token").write_text("good")
    write_kubeconfig(tmp_path / "kubeconfig", api.server_port, {"tokenFile": str(tmp_path / "token")})
    return tmp_path / "kubeconfig"


@pytest.fixture
def connection(kubeconfig, tmp_path):
    return ApiClient(kubeconfig, tmp_path / "private", SILENCE)


def failure(connection, path="/x") -> ApiError:
    with pytest.raises(ApiError) as caught:
        connection.get(path, {}, "application/json")
    return caught.value


def test_request_has_path_query_and_token(api, connection) -> None:
    body = connection.get("/api/v1/secrets", {"fieldSelector": "type=a/b", "limit": "2"}, "application/json;as=X;v=v1")
    assert json.loads(body) == {"path": "/api/v1/secrets?fieldSelector=type%3Da/b&limit=2"}
    [headers] = api.headers_seen
    assert headers["Accept"] == "application/json;as=X;v=v1"


def test_empty_token_file_is_read_again(connection, tmp_path) -> None:
    (tmp_path / "token").write_text("")
    assert str(failure(connection)) == f'read empty token from file "{tmp_path / "token"}"'
    (tmp_path / "token").write_text("good")
    assert connection.get("/x", {}, "application/json")


def signed(**claims) -> str:
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (
        {"alg": "RS256"}, claims, "signature",
    ))  # fmt: skip


ACCOUNT = {"kubernetes.io": {"namespace": "demo", "serviceaccount": {"name": "app", "uid": "1"}}}
OF_ACCOUNT = {"sub": "system:serviceaccount:demo:app", **ACCOUNT}


@pytest.mark.parametrize(("user", "audiences"), [
    ({"token": signed(aud=["https://api.internal", "b"], **OF_ACCOUNT)}, ("https://api.internal", "b")),
    ({"token": signed(aud=["https://idp.example"], sub="alice")}, ()),
    ({"token": "opaque"}, ()),
    ({"token": "\u017c"}, ()),
    ({"username": "u", "password": "p"}, ()),
    ({}, ()),
], ids=["an account's", "a person's", "no JWT", "no ASCII", "a password", "none"])  # fmt: skip
def test_own_audiences_are_known_for_a_service_account_token(tmp_path, user, audiences) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", 9, user)
    assert ApiClient(tmp_path / "kubeconfig", tmp_path / "private").token_audiences() == audiences


def test_own_audiences_are_read_from_a_token_file(connection, tmp_path) -> None:
    (tmp_path / "token").write_text(signed(aud=["https://api.internal"], **OF_ACCOUNT))
    assert connection.token_audiences() == ("https://api.internal",)


@pytest.mark.covers("failure-modes: API server misbehaves")
def test_watch_yields_data_as_it_arrives_and_times_out(connection) -> None:
    with connection.watch("/silent", {}, "application/json") as stream:
        pieces = iter(stream)
        assert next(pieces) == b"hello\n"
        with pytest.raises(ApiError, match="silent for too long"):
            next(pieces)


def test_broken_watch_raises_api_error(connection) -> None:
    with (
        connection.watch("/broken", {}, "application/json") as stream,
        pytest.raises(ApiError, match="the connection to the server was lost"),
    ):
        list(stream)


def test_watch_can_be_closed_from_another_thread(kubeconfig, tmp_path) -> None:
    with ApiClient(kubeconfig, tmp_path).watch("/silent", {}, "application/json") as stream:
        pieces = iter(stream)
        next(pieces)
        threading.Timer(0.1, stream.close).start()
        with contextlib.suppress(ApiError):
            list(pieces)


def test_store_error_is_not_a_connection_error(connection) -> None:
    with pytest.raises(OSError, match="disk"), connection.watch("/broken", {}, "application/json"):
        raise OSError("disk full")


def test_error_status_has_one_line_and_retry_after(connection) -> None:
    refused = failure(connection, "/busy")
    assert (refused.status, str(refused), refused.retry_after) == (429, "HTTP 429: too many", 7.0)


@pytest.mark.parametrize("name", ["acme/pods?dryRun=All&x=", "a#b", "../../apis", "..", "a b", "a\r\nb", "\u2028"])
@pytest.mark.covers("threat-model: invalid names in reviews")
def test_path_with_an_invalid_name_is_never_requested(api, connection, name) -> None:
    assert "no object can have" in str(failure(connection, f"/api/v1/namespaces/{name}/events"))
    assert api.headers_seen == []


def test_expired_list_error_has_the_continue_token(connection) -> None:
    expired = failure(connection, "/expired")
    assert (expired.status, expired.continue_token) == (410, "onward")


@pytest.mark.covers("failure-modes: credentials refused")
def test_expired_credentials_are_read_again(api, connection, tmp_path) -> None:
    connection.get("/x", {}, "application/json")
    api.token = "better"
    (tmp_path / "token").write_text("better")
    assert failure(connection).status == 401
    connection.get("/x", {}, "application/json")


def test_replaced_kubeconfig_is_read_again(api, connection, kubeconfig) -> None:
    connection.get("/x", {}, "application/json")
    api.token = "better"
    write_kubeconfig(kubeconfig, api.server_port, {"token": "better"})
    assert failure(connection).status == 401
    connection.get("/x", {}, "application/json")


def test_unreachable_server_is_found_at_a_new_address(api, connection, kubeconfig) -> None:
    write_kubeconfig(kubeconfig, 1, {"token": "good"})
    away = failure(connection)
    assert away.status == 0
    assert "refused" in str(away)
    write_kubeconfig(kubeconfig, api.server_port, {"token": "good"})
    connection.get("/x", {}, "application/json")


@pytest.mark.parametrize("content", [
    "", "kind: [", "users: {token: sesame}", "users: [{user: {token: sesame}}]\ncontexts: [{token: sesame}]",
], ids=["empty", "no YAML", "no list", "no names"])  # fmt: skip
def test_invalid_kubeconfig_is_reported_without_its_content(connection, kubeconfig, content) -> None:
    kubeconfig.write_text(content)
    message = str(failure(connection))
    assert message.startswith(str(kubeconfig))
    assert "sesame" not in message


def test_in_cluster_config_outside_a_pod_raises_api_error(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert str(failure(ApiClient(None, tmp_path))).startswith("not in a pod: ")


def test_post_sends_json_and_returns_the_object(api, connection) -> None:
    answer = connection.post("/api/v1/namespaces/x/events", {"kind": "Event", "message": "ü"})
    assert json.loads(answer) == {"kind": "Stored"}
    assert api.bodies == [{"kind": "Event", "message": "ü"}]


def test_invalid_token_is_reported_without_quoting_it(kubeconfig, connection, caplog) -> None:
    (kubeconfig.parent / "token").write_text("very-secret\n")
    refused = failure(connection)
    assert "is the token one line, without a line end?" in str(refused)
    assert "very-secret" not in str(refused) + caplog.text
    assert refused.__cause__ is None
    assert refused.__suppress_context__, "a traceback would show what http.client quotes"
    (kubeconfig.parent / "token").write_text("good")
    assert connection.get("/x", {}, "application/json"), "and the credentials are loaded again"


def test_patch_is_a_strategic_merge_patch(api, connection) -> None:
    connection.patch("/api/v1/namespaces/x/secrets/y", {"metadata": {"labels": {"a": "b"}}})
    assert api.bodies == [{"metadata": {"labels": {"a": "b"}}}]
    [headers] = api.headers_seen
    assert headers["Content-Type"] == "application/strategic-merge-patch+json"


def test_put_replaces_and_delete_deletes(api, connection) -> None:
    connection.put("/apis/a/v1/namespaces/x/reports/y", {"metadata": {"resourceVersion": "7"}})
    connection.delete("/apis/a/v1/namespaces/x/reports/y")
    assert api.bodies == [
        {"metadata": {"resourceVersion": "7"}},
        ("DELETE", "/apis/a/v1/namespaces/x/reports/y"),
    ]
    [headers] = api.headers_seen
    assert (headers["Method"], headers["Content-Type"]) == ("PUT", "application/json")


@pytest.mark.parametrize(("size", "seconds"), [(10, 5), (1_000_000, 15)])
def test_large_write_may_take_longer(connection, monkeypatch, size, seconds) -> None:
    sent = []
    monkeypatch.setattr(connection, "_exchange", lambda request: sent.append(request) or b"")
    connection.post("/x", {"text": "a" * size})
    assert [round(request.read_timeout) for request in sent] == [seconds]


@pytest.mark.parametrize("refused", [False, True], ids=["an answer", "a refusal"])
def test_time_follows_the_last_date_header(api, connection, refused) -> None:
    def is_about(when: dt.datetime) -> bool:
        return abs(connection.now() - when) < dt.timedelta(minutes=10)

    own = dt.datetime.now(dt.UTC)
    assert is_about(own)
    api.date = "Wed, 24 Nov 2027 12:00:00 GMT"
    failure(connection, "/busy") if refused else connection.get("/x", {}, "application/json")
    server_time = dt.datetime(2027, 11, 24, 12, tzinfo=dt.UTC)
    assert is_about(server_time)
    for nonsense in ("no date", "Wed, 24 Nov 2027 12:00:00 -0000"):
        api.date = nonsense
        connection.get("/x", {}, "application/json")
        assert is_about(server_time)
    api.date = ""
    connection.get("/x", {}, "application/json")
    assert is_about(own)


def test_dry_run_returns_a_refusal_with_its_warnings(connection) -> None:
    answer = connection.dry_run("/api/v1/namespaces/a/pods", {"kind": "Pod"})
    assert answer == (403, "HTTP 403: denied here", ('a "quoted" field', "another, with a comma"))
