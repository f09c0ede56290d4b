"""A clock that jumps: what depends on the day follows the new day, and nothing else changes."""

import datetime as dt
import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.recorded_reviews import decided
from tests.server.audit_log.cases import LEGACY, pods
from tests.server.faults.load import load
from tests.serving import OBJECTS, POLICY, serve

CC = shutil.which("cc")
JUMPS = {0: True, 1: True, 365: False, -1: True, -365: True}
"""By how many days the clock is wrong, and whether an exemption that ends in ten days holds."""
(READS_TOKEN,) = pods(1, volumes=LEGACY)


@pytest.fixture
def wrong_clock(tmp_path):
    """Return what environment gives a process a clock that can be set, and what sets it, by days."""
    library, file = tmp_path / "clock.so", tmp_path / "wrong-by"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([CC, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    file.write_bytes(bytes(8))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 8) as seconds:

        def set_by(days: int) -> None:
            seconds[:] = struct.pack("@q", days * 86_400)

        yield {"LD_PRELOAD": str(library), "WRONG_BY": str(file)}, set_by


@pytest.mark.skipif(not CC, reason="needs a C compiler")
@pytest.mark.covers("failure-modes: clock jumps")
def test_clock_that_jumps_fails_no_review_and_expires_exemptions(tmp_path, wrong_clock):
    environment, set_by = wrong_clock
    until = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=10)
    exemption = f"{{rules: [legacy-token-reference], namespaces: [demo], reason: soon, until: {until}}}"
    (tmp_path / "policy.yaml").write_text(f"{POLICY}exemptions: [{exemption}]\n")
    (tmp_path / "objects.yaml").write_text(OBJECTS)
    flags = ["--policy", str(tmp_path / "policy.yaml"), "--objects", str(tmp_path / "objects.yaml")]
    target = tmp_path / "audit"
    flags += ["--audit-log", str(target)]
    with serve(tmp_path / "run", *flags, env={**os.environ, **environment}) as server, load(server, 4) as running:
        workers = server.workers
        for days in [*JUMPS, *reversed(JUMPS)]:
            set_by(days)
            response = server.review("/validate", READS_TOKEN)
            assert ("exemption" in response["auditAnnotations"]) is JUMPS[days], (days, decided(response))
            now = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
            (line,) = (line for line in target.read_bytes().splitlines() if response["uid"].encode() in line)
            assert f'"time":"{now:%Y-%m-}'.encode() in line
            target.write_bytes(b"")
            running.go_on()
            assert server.request("GET", "/readyz").status == 200
        assert server.workers == workers
        assert "Traceback" not in server.log
    assert running.failures == []
