"""Tokens that never expire, with the token controller that issues them and the API server that accepts them.

In kube-system, which tokenguard leaves alone, every way leads to a valid token; elsewhere it is refused. What leads to
none isn't sent to tokenguard at all.
"""

import contextlib
import http.client
import json
import ssl
import time
from base64 import b64encode

import pytest

from tests.control_plane.installed import installed
from tests.control_plane.plane import own_plane
from tests.end_to_end.cluster import (
    INVALID_SINCE,
    LEGACY,
    NEW_TOKEN,
    filled,
    namespace_with,
    patch_secret,
    prepare,
    secret,
)
from tests.legacy_tokens import base64url
from tests.serving import eventually
from webhook.core.legacy_token import read_legacy_token

LEFT_ALONE, ENFORCED = "kube-system", "shop"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    with own_plane(folder) as plane:
        if not plane.has_controllers:
            pytest.skip("needs kube-controller-manager")
        plane.start_controllers()
        for namespace in ("default", LEFT_ALONE):
            eventually(lambda: plane.kubectl("get", "serviceaccount", "default", "-n", namespace).returncode == 0)  # noqa: B023
        prepare(plane)
        plane.create(*namespace_with(LEFT_ALONE, "app", "jenkins")[1:], *(
            secret(f"token-{number}", namespace) for number in range(40) for namespace in (LEFT_ALONE, ENFORCED)
        ))  # fmt: skip
        with installed(plane, folder / "tokenguard", replicas=1) as installation:
            yield plane, installation.replicas[0]


@pytest.fixture
def plane(cluster):
    return cluster[0]


@pytest.fixture(scope="module")
def numbers():
    """Return the numbers of the Secrets that no test has used yet."""
    return iter(range(40))


@pytest.fixture
def name(numbers, plane):
    """Return the name of a legacy Secret of account `app`, filled, in both namespaces."""
    name = f"token-{next(numbers)}"
    for namespace in (LEFT_ALONE, ENFORCED):
        filled(plane, name, namespace)
    return name


@pytest.fixture
def review_count(cluster):
    """Return how many reviews of Secrets tokenguard has had since."""
    _, server = cluster
    before = len(server.audit)
    return lambda: [line["operation"] for line in server.audit[before:] if line["resource"] == "secrets"]


def request(plane, token: str, headers: dict[str, str] | None = None) -> int:
    """Send a request with a token, and return the status: 401 where it isn't valid."""
    trust = ssl.create_default_context(cafile=str(plane.folder / "ca.crt"))
    connection = http.client.HTTPSConnection(plane.url.removeprefix("https://"), context=trust, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/apis", headers=headers or {"Authorization": f"Bearer {token}"})
        return connection.getresponse().status


def wait_until_refused(plane, *tokens: str) -> None:
    """Wait until the API server, which remembers for 10 seconds that a token is valid, refuses all of them."""

    def are_refused() -> bool:
        time.sleep(0.2)
        return all(request(plane, token) == 401 for token in tokens)

    eventually(are_refused)


def by_web_socket(plane, token: str) -> int:
    """Ask with a token that is sent as a web socket's subprotocol, in which it may hold any text."""
    protocol = f"base64url.bearer.authorization.k8s.io.{base64url(token.encode())}, v4.channel.k8s.io"
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Protocol": protocol}
    return request(plane, token, headers)


def opaque(name: str, namespace: str, token: str):
    meta = {"name": name, "namespace": namespace}
    data = {"token": b64encode(token.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": meta, "data": data}


@pytest.mark.parametrize("patch", [change for change in NEW_TOKEN.values() if "data" in change], ids=[
    what for what, change in NEW_TOKEN.items() if "data" in change
])  # fmt: skip
@pytest.mark.covers("threat-model: Secret updated")
def test_update_that_has_the_controller_issue_a_token_is_denied(plane, name, patch, review_count) -> None:
    before = {namespace: filled(plane, name, namespace) for namespace in (LEFT_ALONE, ENFORCED)}
    assert patch_secret(plane, name, LEFT_ALONE, patch).returncode == 0
    issued = eventually(lambda: filled(plane, name, LEFT_ALONE))
    wanted = patch.get("metadata", {}).get("annotations", {}).get("kubernetes.io/service-account.name", "app")
    assert read_legacy_token(issued.encode()).account == wanted
    assert request(plane, issued) == 200
    assert review_count() == []
    assert "legacy-token-secret: " in patch_secret(plane, name, ENFORCED, patch).stderr
    assert filled(plane, name, ENFORCED) == before[ENFORCED]
    assert review_count() == ["UPDATE"]


@pytest.mark.covers("threat-model: Secret updated")
def test_null_token_in_a_replaced_secret_is_no_token(plane, name, review_count) -> None:
    path = f"/api/v1/namespaces/{ENFORCED}/secrets/{name}"
    secret = json.loads(plane.do("get", "--raw", path))
    secret["data"]["token"] = None
    done = plane.kubectl("replace", "--raw", path, "-f", "-", stdin=secret)
    assert "legacy-token-secret: data.token is removed" in done.stderr
    assert review_count() == ["UPDATE"]


@pytest.mark.covers("threat-model: Secret updated")
def test_harmless_update_of_a_legacy_secret_is_not_sent(plane, name, review_count) -> None:
    token = filled(plane, name, ENFORCED)
    for patch in (
        {"metadata": {"labels": {"seen": "yes"}}},
        {"metadata": {"labels": {"kubernetes.io/legacy-token-last-used": "2026-11-20"}}},
        {"metadata": {"labels": {INVALID_SINCE: "2026-11-20"}}},
        {"metadata": {"labels": {INVALID_SINCE: "soon"}}},
        {"metadata": {"annotations": {"note": "yes"}}},
        {"metadata": {"finalizers": ["example.com/wait"]}},
        {"metadata": {"finalizers": None}},
        {"stringData": {"more": "yes"}},
        {"stringData": {"token": token}},
        {"stringData": {"token": "revoked"}},
        {"data": {"ca.crt": None}},
        {"immutable": True},
    ):
        assert patch_secret(plane, name, ENFORCED, patch).returncode == 0, patch
    manifest = secret(name, ENFORCED)
    plane.do("apply", "-f", "-", stdin=manifest)
    plane.do("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)
    assert review_count() == []


@pytest.mark.covers("threat-model: token brought back")
def test_harmless_secret_of_another_type_is_not_sent(plane, review_count) -> None:
    bound = plane.do("create", "token", "app", "-n", ENFORCED).strip()
    texts = ("", "hunter2", "07401b.f395accd246ae52d", bound, f"{bound}\n", "two\nlines", "h" * 900_000)
    for number, text in enumerate(texts):
        held = opaque(f"harmless-{number}", ENFORCED, text)
        plane.do("create", "-f", "-", stdin=held)
        changed = {"stringData": {"token": f"{text[:1000]}."}}
        assert patch_secret(plane, f"harmless-{number}", ENFORCED, changed).returncode == 0
    bare = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bare", "namespace": ENFORCED}}
    plane.do("create", "-f", "-", stdin=bare)
    for data in ({"token": None}, {"token": ""}, None):
        path = f"/api/v1/namespaces/{ENFORCED}/secrets/bare"
        plane.do("replace", "--raw", path, "-f", "-", stdin=bare | {"data": data, "type": "Opaque"})
    assert review_count() == []


def test_token_controller_fills_an_exempt_secret_unreviewed(plane, review_count) -> None:
    exempt = ("--as=system:serviceaccount:legacy-distribution:controller", "--as-group=system:masters")
    plane.do("create", "-f", "-", *exempt, stdin=secret("of-a-controller", ENFORCED))
    assert request(plane, filled(plane, "of-a-controller", ENFORCED)) == 200
    assert review_count() == ["CREATE"]


@pytest.mark.covers("threat-model: invalidation removed")
def test_token_marked_invalid_stays_invalid(plane, name, review_count) -> None:
    tokens = {namespace: filled(plane, name, namespace) for namespace in (LEFT_ALONE, ENFORCED)}
    for namespace, token in tokens.items():
        assert request(plane, token) == 200
        plane.do("label", "secret", name, "-n", namespace, f"{INVALID_SINCE}=2026-11-20")
    wait_until_refused(plane, *tokens.values())
    assert review_count() == []
    plane.do("label", "secret", name, "-n", LEFT_ALONE, f"{INVALID_SINCE}-")
    eventually(lambda: request(plane, tokens[LEFT_ALONE]) == 200)
    done = plane.kubectl("label", "secret", name, "-n", ENFORCED, f"{INVALID_SINCE}-")
    assert f'metadata.labels[{INVALID_SINCE}] is removed, so the token of "app"' in done.stderr
    time.sleep(1)
    assert request(plane, tokens[ENFORCED]) == 401


@pytest.mark.covers("threat-model: token brought back")
def test_deleted_token_stays_dead(plane, name, review_count) -> None:
    tokens = {namespace: filled(plane, name, namespace) for namespace in (LEFT_ALONE, ENFORCED)}
    for namespace, token in tokens.items():
        assert request(plane, token) == 200
        plane.do("delete", "secret", name, "-n", namespace)
    wait_until_refused(plane, *tokens.values())
    plane.do("create", "-f", "-", stdin=opaque(name, LEFT_ALONE, tokens[LEFT_ALONE]))
    eventually(lambda: request(plane, tokens[LEFT_ALONE]) == 200)
    assert review_count() == []
    done = plane.kubectl("create", "-f", "-", stdin=opaque(name, ENFORCED, tokens[ENFORCED]))
    assert 'data.token contains a token of "app" that never expires, and makes it valid' in done.stderr
    assert request(plane, tokens[ENFORCED]) == 401
    assert review_count() == ["CREATE"]


@pytest.mark.covers("threat-model: token brought back")
def test_token_with_line_breaks_in_it_is_valid_and_found(plane, name, review_count) -> None:
    tokens = {}
    for namespace in (LEFT_ALONE, ENFORCED):
        header, payload, signature = filled(plane, name, namespace).split(".")
        tokens[namespace] = ".".join((header, "\n".join(payload), "\t".join(signature)))
        plane.do("delete", "secret", name, "-n", namespace)
    plane.do("create", "-f", "-", stdin=opaque(name, LEFT_ALONE, tokens[LEFT_ALONE]))
    eventually(lambda: by_web_socket(plane, tokens[LEFT_ALONE]) == 200)
    done = plane.kubectl("create", "-f", "-", stdin=opaque(name, ENFORCED, tokens[ENFORCED]))
    assert 'data.token contains a token of "app" that never expires, and makes it valid' in done.stderr
    assert review_count() == ["CREATE"]


def test_token_of_a_deleted_account_is_dead_for_good(plane) -> None:
    plane.do("create", "serviceaccount", "leaves", "-n", LEFT_ALONE)
    plane.do("create", "-f", "-", stdin=secret("of-one-who-leaves", LEFT_ALONE, "leaves"))
    token = filled(plane, "of-one-who-leaves", LEFT_ALONE)
    assert request(plane, token) == 200
    plane.do("delete", "serviceaccount", "leaves", "-n", LEFT_ALONE)
    gone = ("get", "secret", "of-one-who-leaves", "-n", LEFT_ALONE)
    eventually(lambda: plane.kubectl(*gone).returncode == 1)
    plane.do("create", "serviceaccount", "leaves", "-n", LEFT_ALONE)
    plane.do("create", "-f", "-", stdin=opaque("of-one-who-leaves", LEFT_ALONE, token))
    wait_until_refused(plane, token)
    time.sleep(1)
    assert request(plane, token) == 401


@pytest.mark.covers("threat-model: tokens in memory or logs")
def test_nothing_of_a_token_is_in_log_or_audit_log(cluster) -> None:
    _, server = cluster
    lines = [line for line in server.audit if line["resource"] == "secrets"]
    assert lines
    assert "eyJ" not in json.dumps(lines)
    assert "ZXlK" not in json.dumps(lines)
    assert "eyJ" not in server.log
    assert LEGACY not in server.log
