"""Metrics of the last background scan, from the status that it writes into a ConfigMap, which is mounted as files."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from webhook.scan.counts import OutcomeCounts
from webhook.scan.evaluation_result import Admission
from webhook.scan.status import MAX_AGE_KEY, ScanStatus
from webhook.server.metrics import definitions
from webhook.server.metrics.definitions import Definition

RESULTS = ("fail", "warn", "skip", "pass")
Samples = list[tuple[tuple[str, ...], float]]


class _Files(NamedTuple):
    """The status, None without one, and the maximum age in seconds, None if no background scan is set up."""

    status: ScanStatus | None
    max_age: float | None


def scan_samples(file: Path | None) -> Iterator[tuple[Definition, Samples]]:
    """Yield the metrics; without a value if there is no background scan. Reads the files at every call."""
    status, max_age = _read(file) if file else _Files(None, None)
    time = status.time.timestamp() if status else None if max_age is None else 0.0
    yield definitions.SCAN_TIME, [] if time is None else [((), time)]
    yield definitions.SCAN_MAX_AGE, [] if max_age is None else [((), max_age)]
    results: Samples = []
    pods: Samples = []
    unevaluated: Samples = []
    left_out: Samples = []
    if status:
        results = [((name,), float(status.results.get(name, 0))) for name in RESULTS]
        pods = [((name,), float(getattr(status.pods, name))) for name in OutcomeCounts.__struct_fields__]
        unevaluated = [((name.value,), float(status.unevaluated_pods.get(name, 0))) for name in Admission]
        left_out = [((), float(status.left_out))]
    yield definitions.SCAN_RESULTS, results
    yield definitions.SCAN_LEFT_OUT, left_out
    yield definitions.SCAN_PODS, pods
    yield definitions.SCAN_UNEVALUATED, unevaluated


def _read(file: Path) -> _Files:
    """Read the files; one that is missing or invalid counts as none."""
    status: ScanStatus | None = None
    max_age: float | None = None
    with contextlib.suppress(OSError, ValueError):
        max_age = float((file.parent / MAX_AGE_KEY).read_text())
    with contextlib.suppress(OSError, msgspec.DecodeError):
        status = msgspec.json.decode(file.read_bytes(), type=ScanStatus)
    return _Files(status, max_age)
