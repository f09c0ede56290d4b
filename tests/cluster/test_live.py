"""The parts of the live state together, over a transport that says what it is told to."""

import json
import threading

import pytest

from tests.cluster.fake import meta, page
from webhook.cluster.live import LiveState
from webhook.cluster.transport import ApiError
from webhook.core.cluster import Cluster
from webhook.server.state import State

AWAY = ApiError(0, "the API server can't be reached")
POLICY = {"policy.yaml": "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"}
CONFIG_MAP = json.dumps({
    "metadata": {"resourceVersion": "5"},
    "items": [{"metadata": meta("token-policy", "tokenguard"), "data": POLICY}],
}).encode()  # fmt: skip
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

    def get(self, path, _query, _accept) -> bytes:
        answer = self.lists[path]
        if isinstance(answer, ApiError):
            raise answer
        return answer

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

    def start(lists, configmap="tokenguard/token-policy", *, objects=True):
        state = State()
        live = LiveState(None, configmap, objects=objects)
        live.connect(Quiet(lists), state, Cluster(api_audiences=("me",)), lambda _accepted: None, tmp_path)
        running.append(live)
        live.start()
        return state

    yield start
    for live in running:
        live.stop()


def test_once_started_all_is_loaded(started) -> None:
    state = started(ALL)
    assert state.why_not_ready == ""
    assert state.snapshot.cluster == Cluster(
        {"demo": {"old": "app"}}, {"demo": frozenset({("tier", "web")})}, api_audiences=("me",)
    )
    assert set(state.heard) == {"policy", "Secrets", "Namespaces"}


@pytest.mark.parametrize(
    ("path", "what"),
    [(path, what) for path, what in zip(ALL, ("policy", "Secrets", "Namespaces"), strict=True)],
    ids=["policy", "Secrets", "Namespaces"],
)
def test_what_cant_be_loaded_is_named_and_nothing_else_and_isnt_waited_for(started, path, what) -> None:
    state = started(ALL | {path: AWAY})
    assert state.snapshot is None
    assert state.why_not_ready == f"{what} not loaded: the API server can't be reached"
    assert what not in state.heard


def test_only_what_is_wanted_is_followed(started) -> None:
    assert set(started(ALL, objects=False).heard) == {"policy"}
    assert set(started(ALL, configmap=None).heard) == {"Secrets", "Namespaces"}
