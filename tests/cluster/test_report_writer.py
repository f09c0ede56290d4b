"""Policy reports in the cluster: which requests are sent, and which are not."""

import copy
import json
from typing import Any

import pytest

from webhook.cluster.report_writer import ReportWriter, WriteCounts, served_report_apis
from webhook.cluster.transport import ApiError
from webhook.scan.report_api import MANAGED_BY, OPEN_REPORTS, REPORT_APIS, WG_POLICY, ReportApi

Object = dict[str, Any]


class Reports:
    """An API server that stores reports by their path."""

    def __init__(self, *served: ReportApi) -> None:
        self.served = served
        self.stored: dict[str, Object] = {}
        self.sent: list[tuple[str, str]] = []
        self.errors: dict[str, ApiError] = {}
        self.queries: list[dict[str, str]] = []

    def get(self, path, query, _accept) -> bytes:
        for api in self.served:
            if path == f"/apis/{api.api_version}":
                kinds = (api.kind, api.cluster_kind)
                return json.dumps({"resources": [{"name": kind.lower(), "kind": kind} for kind in kinds]}).encode()
            if path in api.list_paths or path.startswith(f"/apis/{api.api_version}/namespaces/"):
                self.queries.append(dict(query))
                plural = path.rpartition("/")[2]
                items = [
                    report
                    for stored, report in self.stored.items()
                    if stored.split("/")[-2] == plural and (stored.startswith(path) or path in api.list_paths)
                ]
                return json.dumps({"metadata": {}, "items": items}).encode()
        raise ApiError(404, "HTTP 404: not found")

    def post(self, path, body) -> bytes:
        self._send("post", f"{path}/tokenguard")
        self.stored[f"{path}/tokenguard"] = copy.deepcopy(dict(body))
        return b""

    def put(self, path, body) -> None:
        self._send("put", path)
        self.stored[path] = copy.deepcopy(dict(body))

    def delete(self, path) -> None:
        self._send("delete", path)
        del self.stored[path]

    def _send(self, method: str, path: str) -> None:
        self.sent.append((method, path))
        if error := self.errors.get(path):
            raise error


def path(namespace: str, api: ReportApi = WG_POLICY) -> str:
    return f"{api.path(namespace)}/tokenguard"


def report(namespace: str, *messages: str, seconds: int = 1, **metadata: Any) -> Object:
    where = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": WG_POLICY.api_version, "kind": WG_POLICY.kind,
        "metadata": {"name": "tokenguard", **where, "labels": dict(MANAGED_BY), **metadata},
        "summary": {"fail": len(messages)},
        "results": [
            {"policy": "p", "message": message, "timestamp": {"seconds": seconds, "nanos": 0}} for message in messages
        ],
    }  # fmt: skip


@pytest.fixture
def server() -> Reports:
    return Reports(*REPORT_APIS)


def write(server: Reports, *reports: Object, others: tuple[ReportApi, ...] = (), **where: Any) -> WriteCounts:
    server.sent.clear()
    return ReportWriter(server, WG_POLICY, **where).write(reports, others)


@pytest.mark.parametrize("served", [(), (WG_POLICY,), (OPEN_REPORTS,), REPORT_APIS], ids=len)
def test_served_apis_are_found_by_discovery(served) -> None:
    assert served_report_apis(Reports(*served)) == tuple(served)


def test_api_without_cluster_reports_does_not_count(monkeypatch) -> None:
    server = Reports()
    answer = json.dumps({"resources": [{"kind": "PolicyReport"}]}).encode()
    monkeypatch.setattr(server, "get", lambda *_: answer)
    assert served_report_apis(server) == ()


def test_missing_report_is_created(server) -> None:
    assert write(server, report("shop", "a"), report("", "b")) == WriteCounts(2, 0, 0)
    assert server.sent == [("post", path("shop")), ("post", path(""))]


def test_unchanged_report_is_not_written(server) -> None:
    write(server, report("shop", "a", "b"), report("", "c"))
    assert write(server, report("shop", "a", "b", seconds=9), report("", "c", seconds=9)) == WriteCounts(0, 2, 0)
    assert server.sent == []


def test_changed_report_keeps_timestamps_and_foreign_metadata(server) -> None:
    write(server, report("shop", "a"))
    stored = server.stored[path("shop")]["metadata"]
    stored |= {"resourceVersion": "7", "annotations": {"team": "x", "tokenguard/left-out": "3"}}
    stored["labels"]["team"] = "x"
    assert write(server, report("shop", "b", "a", seconds=9)) == WriteCounts(1, 0, 0)
    assert server.sent == [("put", path("shop"))]
    rewritten = server.stored[path("shop")]
    assert [result["timestamp"]["seconds"] for result in rewritten["results"]] == [9, 1]
    assert rewritten["metadata"]["resourceVersion"] == "7"
    assert rewritten["metadata"]["annotations"] == {"team": "x"}
    assert rewritten["metadata"]["labels"] == {"team": "x", **MANAGED_BY}
    assert write(server, report("shop", "b", "a", seconds=10)) == WriteCounts(0, 1, 0)


@pytest.mark.covers("failure-modes: report edited")
@pytest.mark.parametrize("edit", [
    lambda report: report["metadata"].pop("labels"), lambda report: report["results"].clear(),
    lambda report: report["summary"].update(fail=7), lambda report: report["metadata"].pop("annotations"),
])  # fmt: skip
def test_edited_report_is_repaired(server, edit) -> None:
    wanted = report("shop", "a", annotations={"tokenguard/left-out": "3"})
    write(server, wanted)
    edit(server.stored[path("shop")])
    assert write(server, wanted) == WriteCounts(1, 0, 0)
    assert server.stored[path("shop")] == wanted


def test_stale_reports_are_deleted_in_both_apis(server) -> None:
    write(server, report("shop", "a"), report("gone", "a"), report("", "a"))
    server.stored[path("shop", OPEN_REPORTS)] = report("shop", "a")
    assert write(server, report("shop", "a"), others=(OPEN_REPORTS,)) == WriteCounts(0, 1, 3)
    assert [*server.stored] == [path("shop")]


def test_stale_report_without_the_label_stays(server) -> None:
    server.stored[path("shop")] = report("shop", "a", labels={"app.kubernetes.io/managed-by": "kyverno"})
    assert write(server) == WriteCounts(0, 0, 0)
    assert server.sent == []


def test_named_namespaces_are_listed_alone(server) -> None:
    write(server, report("shop", "a"), report("other", "a"))
    assert write(server, namespaces=("shop",)) == WriteCounts(0, 0, 1)
    assert [*server.stored] == [path("other")]
    assert all(query["fieldSelector"] == "metadata.name=tokenguard" for query in server.queries)


def test_reports_that_are_not_selected_stay(server) -> None:
    write(server, report("team-a", "a"), report("shop", "a"), report("", "a"))
    assert write(server, is_selected=lambda namespace: namespace.startswith("team")) == WriteCounts(0, 0, 1)
    assert {*server.stored} == {path("shop"), path("")}


@pytest.mark.parametrize("error", [
    ApiError(404, "HTTP 404: namespaces not found"),
    ApiError(403, "HTTP 403: unable to create new content in namespace gone because it is being terminated"),
])  # fmt: skip
def test_namespace_that_is_deleted_meanwhile_is_no_error(server, error) -> None:
    server.errors[path("gone")] = error
    assert write(server, report("gone", "a"), report("shop", "a")) == WriteCounts(1, 0, 0)


@pytest.mark.covers("failure-modes: report refused")
def test_refused_report_does_not_stop_the_others(server) -> None:
    server.errors = {path("a"): ApiError(422, "HTTP 422: no"), path("b"): ApiError(409, "HTTP 409: conflict")}
    with pytest.raises(ApiError, match=r"cannot write a report: HTTP 422: no \(and 1 more\)"):
        write(server, report("a", "x"), report("b", "x"), report("c", "x"))
    assert [*server.stored] == [path("c")]


@pytest.mark.parametrize("status", [0, 401, 403])
def test_missing_permission_ends_the_run(server, status) -> None:
    server.errors[path("a")] = ApiError(status, f"HTTP {status}: no")
    with pytest.raises(ApiError, match=f"^HTTP {status}: no$"):
        write(server, report("a", "x"), report("b", "x"))
    assert server.sent == [("post", path("a"))]
