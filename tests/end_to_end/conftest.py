import pytest

from tests.end_to_end.programs import run_watched
from tests.end_to_end.running import installed_in, running_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Return the cluster of `make e2e` with tokenguard in it."""
    with running_cluster(tmp_path_factory.mktemp("running")) as running, installed_in(running) as installed:
        yield installed


@pytest.fixture(scope="session", autouse=True)
def watched(cluster):
    """Return the name of a pod that watches its tokens, started first: their refresh takes eight minutes."""
    return run_watched(cluster)
