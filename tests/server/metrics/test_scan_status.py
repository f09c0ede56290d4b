"""Metrics of the background scan, from the files of its ConfigMap."""

import datetime as dt
from pathlib import Path

import msgspec
import pytest

from tests.server.replica import Replica
from webhook.scan.counts import OutcomeCounts
from webhook.scan.status import KEY, MAX_AGE_KEY, ScanStatus
from webhook.server.metrics.collector import MetricsCollector

TIME = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
STATUS = ScanStatus(
    time=TIME, policy="abc", api="wgpolicyk8s.io/v1alpha2", reports=2, results={"fail": 3, "pass": 9, "invented": 7},
    left_out=1, pods=OutcomeCounts(allowed=4, denied=2), unevaluated_pods={"not-evaluated": 5, "invented": 7},
    legacy_secrets=2,
)  # fmt: skip


def samples(file: Path | None) -> dict[str, float]:
    replica = Replica()
    exposition = MetricsCollector(replica.metrics, replica.state, scan_status=file).exposition().decode()
    lines = (line.rsplit(" ", 1) for line in exposition.splitlines() if line.startswith("tokenguard_scan_"))
    return {name.removeprefix("tokenguard_scan_"): float(value) for name, value in lines}


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / MAX_AGE_KEY).write_text("10800")
    (tmp_path / KEY).write_bytes(msgspec.json.encode(STATUS))
    return tmp_path


def test_status_is_exported_with_known_labels_only(folder) -> None:
    assert samples(folder / KEY) == {
        "timestamp_seconds": TIME.timestamp(), "max_age_seconds": 10800, "results_left_out": 1,
        'results{result="fail"}': 3, 'results{result="warn"}': 0, 'results{result="skip"}': 0,
        'results{result="pass"}': 9,
        'pods{outcome="allowed"}': 4, 'pods{outcome="warned"}': 0, 'pods{outcome="patched"}': 0,
        'pods{outcome="denied"}': 2,
        'unevaluated_pods{admission="not-evaluated"}': 5, 'unevaluated_pods{admission="before-installation"}': 0,
        'unevaluated_pods{admission="excluded"}': 0, 'unevaluated_pods{admission="undetermined"}': 0,
    }  # fmt: skip


def test_new_status_is_exported_at_the_next_scrape(folder) -> None:
    before = samples(folder / KEY)
    later = msgspec.structs.replace(STATUS, time=TIME + dt.timedelta(hours=1))
    (folder / KEY).write_bytes(msgspec.json.encode(later))
    assert samples(folder / KEY)["timestamp_seconds"] - before["timestamp_seconds"] == 3600


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[" * 100_000, b'{"time": 1}', b"\xff"])
def test_scan_that_never_completed_has_time_zero(folder, content) -> None:
    (folder / KEY).unlink()
    if content is not None:
        (folder / KEY).write_bytes(content)
    assert samples(folder / KEY) == {"timestamp_seconds": 0, "max_age_seconds": 10800}


@pytest.mark.parametrize("named", [True, False])
def test_without_background_scan_there_are_no_samples(tmp_path, named) -> None:
    assert samples(tmp_path / KEY if named else None) == {}
