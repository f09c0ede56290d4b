"""The parts of the live state together, over a transport with given answers."""

import json
import threading

import pytest

from tests.cluster.fake import meta, page
from tests.serving import eventually
from webhook.cluster.informers import Informers
from webhook.cluster.state_persistence import StateFiles
from webhook.cluster.transport import ApiError
from webhook.core.cluster_state import ClusterState
from webhook.server.readiness import readiness_error
from webhook.server.state import State

AWAY = ApiError(0, "the connection to the server was refused")
REFUSALS = (AWAY, ApiError(401, "HTTP 401: Unauthorized"), ApiError(403, "HTTP 403: forbidden"))
SILENCE = b""
POLICY = {"policy.yaml": "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"}
CONFIG_MAP = json.dumps({
    "metadata": {"resourceVersion": "5"},
    "items": [{"metadata": meta("token-policy", "tokenguard"), "data": POLICY}],
}).encode()  # fmt: skip
WHERE_POLICY = "/api/v1/namespaces/tokenguard/configmaps"
WHAT = {
    WHERE_POLICY: "policy",
    "/api/v1/secrets": "Secrets",
    "/api/v1/namespaces": "Namespaces",
}
ALL = {
    "/api/v1/namespaces/tokenguard/configmaps": CONFIG_MAP,
    "/api/v1/secrets": page(meta("old")),
    "/api/v1/namespaces": page(meta("demo", "", labels={"tier": "web"})),
}


class Quiet:
    """Lists what it was made with; its watches stay open and say nothing."""

    def __init__(self, lists) -> None:
        self.lists = lists
        self.over = threading.Event()
        self.posting = threading.Event()
        self.posted = False

    def get(self, path, _query, _accept) -> bytes:
        answer = self.lists.get(path, AWAY)
        if answer is SILENCE:
            self.over.wait(60)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    def post(self, _path, _body) -> bytes:
        self.posting.set()
        self.over.wait(60)
        self.posted = True
        return b"{}"

    def watch(self, _path, _query, _accept) -> "Quiet":
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_error) -> None:
        pass

    def __iter__(self):
        self.over.wait(20)
        return iter(())

    def close(self) -> None:
        self.over.set()


@pytest.fixture
def started(tmp_path):
    running = []

    def start(lists, configmap="tokenguard/token-policy", *, objects=True, state_folder=None, run="first"):
        state = State()
        transport = lists if isinstance(lists, Quiet) else Quiet(lists)
        private = tmp_path / run
        private.mkdir(exist_ok=True)
        live = Informers(
            state, ClusterState(api_audiences=("me",)), lambda _accepted: None, private,
            configmap=configmap, objects=objects, state_folder=state_folder, transport=transport,
        )  # fmt: skip
        running.append(live)
        live.restore()
        live.start()
        return state

    yield start
    for live in running:
        live.stop()


def test_start_loads_policy_secrets_and_namespaces(started) -> None:
    state = started(ALL)
    assert readiness_error(state) == ""
    assert state.snapshot.cluster == ClusterState(
        {"demo": {"old": "app"}}, {"demo": frozenset({("tier", "web")})}, api_audiences=("me",)
    )
    assert set(state.last_synced) == {"policy", "Secrets", "Namespaces"}


NO_POLICY = {WHERE_POLICY: page()}
BAD_POLICY = {WHERE_POLICY: CONFIG_MAP.replace(b"TokenPolicy", b"TokenPolize")}


@pytest.mark.parametrize("stored", [NO_POLICY, BAD_POLICY], ids=["gone", "invalid"])
@pytest.mark.covers("threat-model: invalid policy stored")
def test_restart_without_a_valid_policy_uses_the_stored_one(started, tmp_path, stored) -> None:
    revision = started(ALL, state_folder=tmp_path).snapshot.policy.revision
    state = started(ALL | stored, state_folder=tmp_path, run="second")
    assert readiness_error(state) == ""
    assert state.snapshot.policy.revision == revision


@pytest.mark.parametrize("damage", [b"", b"{", b"kind: TokenPolize", b"\xff"])
def test_restart_with_a_damaged_stored_policy_is_not_ready(started, tmp_path, damage) -> None:
    started(ALL, state_folder=tmp_path)
    [stored] = tmp_path.glob("policy-*")
    stored.write_bytes(damage)
    state = started(ALL | BAD_POLICY, state_folder=tmp_path, run="second")
    assert "policy not loaded" in readiness_error(state)


@pytest.mark.parametrize(
    ("configmap", "state_folder"), [("tokenguard/other", "state"), ("tokenguard/token-policy", None)]
)
def test_restart_uses_no_stored_policy_of_another_configmap(started, tmp_path, configmap, state_folder) -> None:
    started(ALL, state_folder=tmp_path)
    state = started(ALL | NO_POLICY, configmap, state_folder=state_folder and tmp_path, run="second")
    assert "policy not loaded" in readiness_error(state)


@pytest.mark.parametrize(("path", "what"), WHAT.items(), ids=WHAT.values())
@pytest.mark.covers("failure-modes: API server silent at the start")
def test_resource_that_cannot_be_loaded_is_named_without_waiting(started, path, what) -> None:
    state = started(ALL | {path: AWAY})
    assert state.snapshot is None
    assert readiness_error(state) == f"{what} not loaded: the connection to the server was refused"
    assert what not in state.last_synced


def test_only_configured_resources_are_watched(started) -> None:
    assert set(started(ALL, objects=False).last_synced) == {"policy"}
    assert set(started(ALL, configmap=None).last_synced) == {"Secrets", "Namespaces"}


@pytest.fixture
def stored(started, tmp_path):
    """Return the state of a worker that knows all and has stored it."""
    state = started(ALL)
    eventually(lambda: is_stored(tmp_path / "first", state))
    return state


def is_stored(folder, state) -> bool:
    return StateFiles(folder, folder / "policy.yaml", ClusterState(), {}).read().last_synced == state.last_synced


@pytest.mark.parametrize("refusal", REFUSALS, ids=["away", "unknown to it", "not allowed"])
@pytest.mark.covers("failure-modes: API server unreachable")
def test_restarted_worker_that_is_refused_has_the_stored_state(stored, started, refusal) -> None:
    restarted = started(dict.fromkeys(ALL, refusal))
    assert restarted.snapshot == stored.snapshot
    assert restarted.last_synced == stored.last_synced


@pytest.mark.parametrize("path", ALL)
def test_restarted_worker_loads_what_it_can(stored, started, path) -> None:
    restarted = started({path: ALL[path]})
    assert restarted.snapshot == stored.snapshot
    newer = [what for what, heard in restarted.last_synced.items() if heard > stored.last_synced[what]]
    assert newer == [WHAT[path]]


def test_stored_state_is_merged_with_what_is_loaded(stored, started) -> None:
    restarted = started({"/api/v1/namespaces": page(meta("demo", "", labels={"tier": "db"}))})
    assert restarted.snapshot.cluster.namespace_labels("demo") == {("tier", "db")}
    assert restarted.snapshot.cluster.legacy_tokens == stored.snapshot.cluster.legacy_tokens


def test_restarted_worker_does_not_wait_for_a_silent_api_server(stored, started, monkeypatch) -> None:
    monkeypatch.setattr("webhook.cluster.informers.START_TIMEOUT", 3600.0)
    restarted = started(dict.fromkeys(ALL, SILENCE))
    assert restarted.snapshot == stored.snapshot


def test_stored_policy_is_in_force_without_objects(stored, started) -> None:
    restarted = started({}, objects=False)
    assert set(restarted.last_synced) == {"policy"}
    restarted.use_cluster(ClusterState())
    assert restarted.snapshot.policy == stored.snapshot.policy


def test_invalid_policy_is_watched_while_its_event_is_pending(started) -> None:
    quiet = Quiet(ALL | {next(iter(ALL)): CONFIG_MAP.replace(b"TokenPolicy", b"TokenPolice")})
    state = started(quiet)
    assert quiet.posting.wait(30)
    eventually(lambda: "policy" in state.last_synced)
    assert not quiet.posted
    assert "TokenPolice" in readiness_error(state)
