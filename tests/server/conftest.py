import pytest

from tests.serving import OBJECTS, POLICY, serve


@pytest.fixture(scope="session")
def policy_flags(tmp_path_factory):
    """Return the flags for a policy with one injection, and for objects with two legacy tokens."""
    folder = tmp_path_factory.mktemp("policy")
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "objects.yaml").write_text(OBJECTS)
    return ["--policy", str(folder / "policy.yaml"), "--objects", str(folder / "objects.yaml")]


@pytest.fixture(scope="session")
def server(policy_flags, tmp_path_factory):
    """Return one server for all tests that leave it as it was."""
    with serve(tmp_path_factory.mktemp("server"), *policy_flags, "--audit-level", "all") as running:
        yield running
