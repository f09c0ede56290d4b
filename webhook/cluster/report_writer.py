"""Writes policy reports: creates those that are missing, replaces what changed, deletes what is stale.

A result keeps the timestamp of the scan that found it first, and a report without a change is not written: watches,
backups and dashboards see changes only. All requests name the reports, so that RBAC can restrict them to that name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec

from webhook.cluster.api_types import BY_NAME, Resource
from webhook.cluster.listing import list_objects
from webhook.cluster.transport import NOT_FOUND, ApiError, Transport
from webhook.scan.report_api import MANAGED_BY, REPORT_APIS, REPORT_NAME, ReportApi

_PAGE_SIZE = 20
"""A report may have a megabyte."""
_FORBIDDEN = 403
_TERMINATING = "is being terminated"
_FATAL = frozenset({0, 401, _FORBIDDEN})
"""Statuses after which no further report can be written either."""
_CONTENT = ("source", "scope", "summary", "results")
_Report = Mapping[str, Any]


class WriteCounts(NamedTuple):
    """What was done: the numbers of reports."""

    written: int
    unchanged: int
    deleted: int


class _Served(msgspec.Struct):
    kind: str = ""


class _Resources(msgspec.Struct):
    resources: list[_Served] = []


def served_report_apis(transport: Transport) -> tuple[ReportApi, ...]:
    """Return the report APIs that the API server serves. Raises `ApiError`."""
    return tuple(api for api in REPORT_APIS if {api.kind, api.cluster_kind} <= set(_kinds(transport, api)))


def _kinds(transport: Transport, api: ReportApi) -> Iterator[str]:
    path = f"/apis/{api.api_version}"
    try:
        discovery = msgspec.json.decode(transport.get(path, {}, "application/json"), type=_Resources)
    except ApiError as error:
        if error.status != NOT_FOUND:
            raise
    except (msgspec.DecodeError, RecursionError):
        raise ApiError(0, f"cannot decode the API server's discovery at {path}") from None
    else:
        yield from (resource.kind for resource in discovery.resources)


class ReportWriter:
    """Brings the reports in the cluster in line with those of a scan."""

    def __init__(
        self,
        transport: Transport,
        api: ReportApi,
        namespaces: tuple[str, ...] = (),
        is_selected: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Write reports of `api`, of the given namespaces alone or of all that are selected; empty: the cluster's."""
        self._transport = transport
        self._api = api
        self._namespaces = namespaces
        self._is_selected = is_selected
        self._errors: list[ApiError] = []
        self._written = self._unchanged = self._deleted = 0

    def write(self, reports: Iterable[_Report], others: Iterable[ReportApi] = ()) -> WriteCounts:
        """Write these reports and delete all others, those of `others` included. Raises `ApiError`.

        A report that is refused does not keep the others from being written.
        """
        wanted = {_namespace(report): report for report in reports}
        for existing in self._existing(self._api):
            namespace = _namespace(existing)
            report = wanted.pop(namespace, None)
            if report is None:
                self._delete(self._api, existing)
            else:
                self._replace(existing, report)
        for namespace, report in wanted.items():
            if self._try(partial(self._transport.post, body=report), self._api.path(namespace)):
                self._written += 1
        for other in others:
            for existing in self._existing(other):
                self._delete(other, existing)
        if self._errors:
            more = f" (and {len(self._errors) - 1} more)" if len(self._errors) > 1 else ""
            raise ApiError(self._errors[0].status, f"cannot write a report: {self._errors[0]}{more}")
        return WriteCounts(self._written, self._unchanged, self._deleted)

    def _existing(self, api: ReportApi) -> Iterator[_Report]:
        paths = tuple(map(api.path, self._namespaces)) or api.list_paths
        for path in paths:
            resource: Resource[dict[str, Any]] = Resource("reports", path, dict, f"{BY_NAME}{REPORT_NAME}")
            for report in list_objects(resource, self._transport, page_size=_PAGE_SIZE):
                if self._is_selected(_namespace(report)):
                    yield report

    def _replace(self, existing: _Report, report: _Report) -> None:
        report = _merged(existing, report)
        if all(existing.get(key) == report.get(key) for key in ("metadata", *_CONTENT)):
            self._unchanged += 1
        elif self._try(partial(self._transport.put, body=report), self._path(self._api, existing)):
            self._written += 1

    def _delete(self, api: ReportApi, existing: _Report) -> None:
        labels = existing["metadata"].get("labels") or {}
        if MANAGED_BY.items() <= labels.items() and self._try(self._transport.delete, self._path(api, existing)):
            self._deleted += 1

    @staticmethod
    def _path(api: ReportApi, report: _Report) -> str:
        return f"{api.path(_namespace(report))}/{REPORT_NAME}"

    def _try(self, send: Callable[[str], object], path: str) -> bool:
        """Send a request; return whether it succeeded. A namespace that is being deleted needs no report."""
        try:
            send(path)
        except ApiError as error:
            gone = error.status == NOT_FOUND or (error.status == _FORBIDDEN and _TERMINATING in str(error))
            if error.status in _FATAL and not gone:
                raise
            if not gone:
                self._errors.append(error)
            return False
        return True


def _namespace(report: _Report) -> str:
    namespace: str = report["metadata"].get("namespace", "")
    return namespace


def _merged(existing: _Report, report: _Report) -> dict[str, Any]:
    """Return the report that replaces an existing one: with the rest of its metadata, and known results' timestamps."""
    metadata, wanted = dict(existing["metadata"]), report["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), **wanted["labels"]}
    annotations = {
        key: value for key, value in (metadata.get("annotations") or {}).items() if not key.startswith("tokenguard/")
    } | wanted.get("annotations", {})
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    known = {_identity(result): result.get("timestamp") for result in existing.get("results") or ()}
    results = [
        {**result, "timestamp": known.get(_identity(result)) or result["timestamp"]} for result in report["results"]
    ]
    return {**report, "metadata": metadata, "results": results}


def _identity(result: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({key: value for key, value in result.items() if key != "timestamp"}, order="sorted")
