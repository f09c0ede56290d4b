"""What every test has in common, and how tests are distributed over the processes of `make test`."""

import os
import signal
import sys
from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # otherwise each process that a test starts compiles the whole package
sys.dont_write_bytecode = False
os.environ.setdefault(
    "GOGC", "400"
)  # kubectl, helm and API servers collect garbage less often: it is a fifth of their CPU
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell has it ignored in the background; processes inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile("tokenguard", deadline=None)  # no test fails because the machine is busy
hypothesis.settings.load_profile("tokenguard")

TESTS = Path(__file__).parent
SHARED_CONTROL_PLANES = {
    "control_plane/test_api_audience.py": "control_plane/test_scan.py",
    "control_plane/test_audit_logs.py": "plane",
    "control_plane/test_certificates.py": "plane",
    "control_plane/test_client_ca.py": "plane",
    "control_plane/test_live_state.py": "live_plane",
    "control_plane/test_odd_bodies.py": "plane",
    "control_plane/test_outages.py": "live_plane",
    "control_plane/test_policy_configmap.py": "plane",
    "control_plane/test_reviews.py": "plane",
    "control_plane/test_scan_controllers.py": "control_plane/test_tokens.py",
    "control_plane/test_scan_custom_kinds.py": "control_plane/test_tokens.py",
}
"""Files that use a control plane of `control_plane/conftest.py`; one process runs them, so that it is started once."""
LONGEST = (
    "control_plane/test_helm.py",
    "control_plane/test_installation.py",
    "control_plane/test_scan.py",
    "control_plane/test_policy_configmap.py",
    "control_plane/test_live_state.py",
    "control_plane/test_end_to_end.py",
    "control_plane/",
    "server/faults/",
    "server/",
    "soak/",
    "bench/",
    "fuzz/",
)
"""Files and folders of the longest tests, the longest first: short files fill the gaps at the end."""


class ByFile(LoadScopeScheduling):
    """Keeps the tests of a file in one process, and those of files that share a control plane."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0].removeprefix("tests/")
        return SHARED_CONTROL_PLANES.get(file, file)


def pytest_xdist_make_scheduler(config, log) -> LoadScopeScheduling:
    config.option.loadscopereorder = False  # it goes by the number of tests, which says little about their time
    return ByFile(config, log)


def _position(item: pytest.Item) -> int:
    file = str(item.path.relative_to(TESTS))
    return next((number for number, name in enumerate(LONGEST) if file.startswith(name)), len(LONGEST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_position)
