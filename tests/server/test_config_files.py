"""Policy, objects, certificate and own token that change while the server runs, or are invalid from the start."""

import base64
import datetime as dt
import json
import ssl

import pytest

from tests.recorded_reviews import decided, recorded
from tests.serving import OBJECTS, POLICY, eventually, raw_connection, serve
from webhook.core.cluster_state import ClusterState
from webhook.core.policy.loader import default_policy
from webhook.pki.issue import create_self_signed
from webhook.server.config_files import OwnTokenAudiences
from webhook.server.state import State

BAD = "apiVersion: tokenguard/v1\nkind: TokenPolicy\nmodee: warn\ntokens: {maxExpirationSeconds: 5}\n"
WARN = "apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: warn\n"
SECRET = recorded("secret-legacy.secrets", "validate")
LEGACY = recorded("pod-legacy-env.pods", "validate")
PLAIN = recorded("pod-plain.pods", "mutate")


def decision(server, body=SECRET) -> str:
    return decided(server.review("/validate", body))


def served_name(server) -> str:
    with raw_connection(server) as connection:
        assert isinstance(connection, ssl.SSLSocket)
        return connection.getpeercert()["subjectAltName"][-1][1]


@pytest.fixture
def files(tmp_path):
    """Return a function that writes policy, objects, certificate and key, and the flags for them."""
    pairs = [create_self_signed([f"made-{number}.example.com"], dt.datetime.now(dt.UTC)) for number in range(2)]

    def write(policy: str | bytes = POLICY, objects: str | bytes = OBJECTS, pair: int | None = 0) -> None:
        (tmp_path / "policy.yaml").write_text(policy)
        (tmp_path / "objects.yaml").write_text(objects)
        (tmp_path / "tls.crt").write_bytes(b"junk" if pair is None else pairs[pair].certificate)
        (tmp_path / "tls.key").write_bytes(pairs[pair or 0].key)

    write()
    names = {"policy": "policy.yaml", "objects": "objects.yaml", "tls-cert": "tls.crt", "tls-key": "tls.key"}
    write.flags = [part for name, file in names.items() for part in (f"--{name}", str(tmp_path / file))]
    write.authority = pairs[1].authority.decode()
    return write


@pytest.mark.covers("failure-modes: policy invalid or missing", "failure-modes: certificate invalid")
def test_new_files_are_used_and_invalid_ones_rejected(files, tmp_path):
    with serve(tmp_path / "run", *files.flags) as server:
        assert decision(server).startswith("denied")
        assert "legacy-token-reference" in decision(server, LEGACY)
        assert served_name(server) == "made-0.example.com"
        server.context.load_verify_locations(cadata=files.authority)
        files(WARN, OBJECTS.replace("app-token", "other"), 1)
        eventually(lambda: served_name(server) == "made-1.example.com")
        eventually(lambda: decision(server).startswith("warned"))
        eventually(lambda: "legacy-token-reference" not in decision(server, LEGACY))
        first = server.metric("tokenguard_last_reload_success_timestamp_seconds", source="policy")
        files(BAD, "kind: [", None)
        for source in ("policy", "objects", "certificate"):
            labels = {"source": source, "result": "rejected"}
            eventually(lambda labels=labels: server.metric("tokenguard_reloads_total", **labels) == 1)
            assert server.metric("tokenguard_reloads_total", source=source, result="accepted") == 2
            assert server.metric("tokenguard_last_reload_successful", source=source) == 0
            assert f"{source} not used" in server.log
        assert server.metric("tokenguard_policy_reloads_total") == 3
        assert server.metric("tokenguard_last_reload_success_timestamp_seconds", source="policy") == first
        assert (decision(server)[:6], served_name(server)) == ("warned", "made-1.example.com")
        assert server.request("GET", "/readyz").status == 200
        assert all(mistake in server.log for mistake in ("modee", "maxExpirationSeconds"))
        files()
        eventually(lambda: decision(server).startswith("denied"))
        assert server.metric("tokenguard_last_reload_successful", source="policy") == 1
        assert "PRIVATE" not in server.log


@pytest.mark.covers("failure-modes: policy invalid or missing", "failure-modes: certificate invalid")
def test_worker_started_with_invalid_files_uses_the_last_valid(files, tmp_path):
    data = base64.b64encode(b"secret-value").decode()
    files(objects="apiVersion: v1\nkind: Namespace\nmetadata: {name: demo}\n")
    (tmp_path / "tmp").mkdir()
    with serve(tmp_path / "run", *files.flags, environment={"TMPDIR": str(tmp_path / "tmp")}) as server:
        server.context.load_verify_locations(cadata=files.authority)
        files(WARN, f"{OBJECTS}data: {{password: {data}}}\n", 1)
        eventually(lambda: "legacy-token-reference" in decision(server, LEGACY))
        eventually(lambda: served_name(server) == "made-1.example.com")
        files(BAD, "kind: [", None)
        eventually(lambda: all(f"{source} not used" in server.log for source in ("policy", "objects", "certificate")))
        server.replace_worker()
        assert served_name(server) == "made-1.example.com"
        assert decision(server).startswith("warned")
        assert "legacy-token-reference" in decision(server, LEGACY)
        assert server.metric("tokenguard_legacy_secrets") == 2
        assert server.log.count("is invalid: restored the last valid one") == 3
        [private] = (tmp_path / "tmp").glob("tokenguard-run-*")
        stored = [file for file in private.iterdir() if file.is_file()]
        assert stored
        assert not any(data.encode() in file.read_bytes() for file in stored)


@pytest.mark.covers("failure-modes: policy invalid or missing")
def test_start_without_a_policy_is_not_ready_and_denies(tmp_path):
    policy = tmp_path / "policy.yaml"
    with serve(tmp_path / "run", "--policy", str(policy), ready=False) as server:

        def is_not_ready(reason: str) -> bool:
            ready = server.request("GET", "/readyz")
            return ready.status == 503 and reason in ready.json["error"]

        assert is_not_ready("policy not loaded")
        policy.write_text(BAD)
        eventually(lambda: is_not_ready("modee"))
        assert server.request("GET", "/healthz").status == 200
        response = server.review("/mutate", PLAIN)
        assert (response["allowed"], response["status"]["code"]) == (False, 503)
        assert "tokenguard is not ready" in response["status"]["message"]
        policy.write_text(POLICY)
        eventually(lambda: server.request("GET", "/readyz").status == 200)
        eventually(lambda: server.review("/mutate", PLAIN)["allowed"])


def token(claims) -> str:
    return "e30." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".c2ln"


@pytest.mark.parametrize(
    ("content", "audiences"),
    [
        pytest.param(token({"aud": ["https://api", "https://other"], "sub": "?>?>"}), ("https://api", "https://other"),
                     id="list"),
        pytest.param(token({"aud": "https://api"}), ("https://api",), id="string"),
        pytest.param(token({"aud": []}), (), id="empty-list"),
        pytest.param(token({}), (), id="none"),
        pytest.param(token({"aud": [1]}), (), id="numbers"),
        pytest.param(token([]), (), id="no-object"),
        pytest.param("e30.%%%.c2ln", (), id="no-base64"),
        pytest.param("no token", (), id="no-token"),
        pytest.param("", (), id="empty"),
        pytest.param("żółć", (), id="no-ascii"),
        pytest.param(None, (), id="no-file"),
    ],
)  # fmt: skip
def test_api_audiences_are_read_from_the_own_token(tmp_path, content, audiences):
    if content is not None:
        (tmp_path / "token").write_text(content)
    assert OwnTokenAudiences(State(), tmp_path / "token").names == audiences


def test_api_audiences_of_a_renewed_own_token_are_used(tmp_path):
    file, state = tmp_path / "token", State()
    state.use_policy(default_policy())
    file.write_text(token({"aud": ["https://api"]}))
    own = OwnTokenAudiences(state, file)
    state.use_cluster(ClusterState(api_audiences=own.names))
    for content, expected in [
        (token({"aud": ["https://api", "https://new"]}), ("https://api", "https://new")),
        ("half a token", ("https://api", "https://new")),
        (token({"aud": "https://new"}), ("https://new",)),
    ]:
        file.write_text(content)
        own.check()
        assert state.snapshot.cluster.api_audiences == expected
    state.use_cluster(ClusterState({"demo": {"t": "app"}}, api_audiences=("https://api",)))
    assert state.snapshot.cluster.api_audiences == ("https://new",)
