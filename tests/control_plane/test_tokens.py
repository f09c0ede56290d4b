"""Tokens of a real API server, looked into and verified; and what a stranger makes to look like them."""

import base64
import json
import subprocess
import time

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.commands import run_command
from tests.control_plane.plane import ControlPlane, own_plane
from tests.end_to_end.cluster import pod, secret
from tests.serving import eventually
from tests.tokens.signing import ISSUER, VAULT, Signer, plain_claims, signer, unsigned
from webhook.tokens.claims import Token, parse_token

APP = "system:serviceaccount:demo:app"
AS_NODE = ("--as=system:node:node-1", "--as-group=system:nodes", "--as-group=system:authenticated")
ACCEPTED = f'accepted   for "{ISSUER}"\naccount    {APP}\nmethod     TokenReview by the API server\n'


@pytest.fixture(scope="module")
def plane(unguarded_plane):
    return unguarded_plane


@pytest.fixture(scope="module")
def default_token(plane) -> bytes:
    return create(plane)


def create(plane: ControlPlane, *flags: str) -> bytes:
    """Return a token as `kubectl create token` prints it."""
    return plane.do("create", "token", "app", "-n", "demo", *flags).encode()


def of_pod(plane: ControlPlane, name: str, *flags: str) -> bytes:
    """Make a pod, and return a token that its node asks for."""
    plane.do("create", "-f", "-", stdin=pod(name, "demo", nodeName="node-1"))
    uid = plane.do("get", "pod", name, "-n", "demo", "-o", "jsonpath={.metadata.uid}")
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={name}", f"--bound-object-uid={uid}")
    return create(plane, *bound, *AS_NODE, *flags)


def legacy(plane: ControlPlane, name: str) -> bytes:
    """Make a Secret, and return the token that the controller puts into it."""
    if not plane.has_controllers:
        pytest.skip("needs kube-controller-manager, which puts the tokens into Secrets")
    plane.do("create", "-f", "-", stdin=secret(name, "demo"))
    get = ("get", "secret", name, "-n", "demo", "-o", "jsonpath={.data.token}")
    return base64.b64decode(eventually(lambda: plane.do(*get)))


def run(command: str, token: bytes, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a `token` command, which must not show what the token could be made of."""
    done = run_command("token", command, *flags, stdin=token)
    shown = (done.stdout + done.stderr).encode()
    assert b"Traceback" not in shown
    assert not any(len(part) > 20 and part in shown for part in token.strip().split(b".")[1:])
    return done


def verify(plane: ControlPlane, token: bytes, *flags: str) -> subprocess.CompletedProcess[str]:
    return run("verify", token, "--kubeconfig", str(plane.folder / "kubeconfig"), *flags)


def test_inspect_of_a_token_created_by_hand(plane, default_token) -> None:
    done = run("inspect", default_token)
    assert done.returncode == 0
    assert "kind       requested by TokenRequest, not bound to a pod\naccount    demo/app (uid " in done.stdout
    assert f'audiences  "{ISSUER}"\n' in done.stdout
    assert "lifetime   1 hour (3600 seconds)\nbound to   nothing: " in done.stdout
    done = verify(plane, default_token)
    assert (done.returncode, done.stdout, done.stderr) == (0, ACCEPTED, "")


def test_two_hour_token_is_genuine_and_exceeds_the_policy(plane) -> None:
    token = create(plane, "--duration=2h")
    done = run("inspect", token)
    assert done.returncode == 1
    assert "reject: token-request-expiration: spec.expirationSeconds requests lifetime 7200s" in done.stdout
    assert verify(plane, token).returncode == 0


def test_token_for_an_audience_is_accepted_for_it_alone(plane) -> None:
    token = create(plane, f"--audience={VAULT}", "--audience=https://second.example.com")
    assert parse_token(token).audiences == (VAULT, "https://second.example.com")
    for flags in ((), ("--cluster-keys",)):
        accepted = verify(plane, token, *flags, "--audience", VAULT, "--audience", "https://other.example.com")
        assert accepted.returncode == 0
        expected = f'accepted   for "{VAULT}"\nrejected   for "https://other.example.com"\naccount    {APP}\n'
        assert accepted.stdout.startswith(expected)
        refused = verify(plane, token, *flags, "--audience", "https://other.example.com")
        assert refused.returncode == 1
        assert f'issued for "{VAULT}", "https://second.example.com", not for "https://other.' in refused.stdout
        assert verify(plane, token, *flags).returncode == 1, "nor for the API server"


def test_pod_token_of_an_hour_is_valid_for_a_year(plane) -> None:
    token = of_pod(plane, "app-1", "--duration=3607s")
    done = run("inspect", token)
    assert done.returncode == 1
    assert "kind       bound to a pod: " in done.stdout
    assert "bound to   Pod app-1 (uid " in done.stdout
    assert "           Node node-1 (uid " in done.stdout
    assert "problems   requested for 1 hour 7 seconds, but valid for 1 year: " in done.stdout
    assert "requests lifetime 31536000s, exceeding the maximum 3600s" in done.stdout
    assert verify(plane, token).stdout == ACCEPTED


def test_pod_token_with_two_audiences_is_valid(plane) -> None:
    token = of_pod(plane, "app-2", "--duration=3600s", f"--audience={VAULT}", f"--audience={ISSUER}")
    done = run("inspect", token)
    assert done.returncode == 0
    assert "(revision 8c0cec78672a, mode enforce)\n" in done.stdout
    assert "a TokenRequest for such a token in namespace demo would be allowed\n" in done.stdout
    assert verify(plane, token, "--audience", VAULT).returncode == 0
    assert verify(plane, token).returncode == 0


def test_legacy_token_never_expires(plane) -> None:
    token = legacy(plane, "app-token")
    done = run("inspect", token)
    assert done.returncode == 1
    assert "kind       legacy token, stored in a Secret\naccount    demo/app (uid " in done.stdout
    assert "expires    never\n" in done.stdout
    assert "bound to   Secret app-token\n" in done.stdout
    assert "reject: legacy-token-secret: " in done.stdout
    assert verify(plane, token).stdout == ACCEPTED
    assert verify(plane, token, "--cluster-keys").returncode == 0
    for flags in ((), ("--cluster-keys",)):
        refused = verify(plane, token, *flags, "--audience", VAULT)
        assert refused.returncode == 1
        assert f'issued for the API server only, not for "{VAULT}"' in refused.stdout


def test_token_of_a_deleted_pod_is_refused_by_token_review_only(plane) -> None:
    token = of_pod(plane, "gone")
    assert verify(plane, token, "--cluster-keys").returncode == 0
    plane.do("delete", "pod", "gone", "-n", "demo", "--grace-period=0", "--force")
    done = eventually(lambda: _refused(plane, token))
    assert "the token itself is valid; check whether these were deleted or recreated: " in done.stdout
    assert "its account, Pod gone" in done.stdout
    by_keys = verify(plane, token, "--cluster-keys")
    assert by_keys.returncode == 0
    assert "whether its account and bound objects still exist was not checked" in by_keys.stdout


def _refused(plane: ControlPlane, token: bytes) -> subprocess.CompletedProcess[str] | None:
    """Return how a token is refused; None as long as the API server remembers that it was right."""
    time.sleep(0.5)
    done = verify(plane, token)
    return done if done.returncode == 1 else None


def test_verify_reads_keys_from_a_file(plane, default_token, tmp_path) -> None:
    (tmp_path / "jwks.json").write_text(plane.do("get", "--raw", "/openid/v1/jwks"))
    flags = ("--jwks", str(tmp_path / "jwks.json"), "--issuer")
    assert run("verify", default_token, *flags, ISSUER).returncode == 0
    refused = run("verify", default_token, *flags, "https://elsewhere.example.com")
    assert refused.returncode == 1
    assert f'issued by "{ISSUER}", not by "https://elsewhere.example.com"' in refused.stdout


def test_token_of_another_cluster_is_refused(plane, tmp_path) -> None:
    with own_plane(tmp_path) as other:
        other.do("create", "namespace", "demo")
        other.do("create", "serviceaccount", "app", "-n", "demo")
        token = create(other)
        assert verify(other, token).returncode == 0
    for flags in ((), ("--cluster-keys",)):
        refused = verify(plane, token, *flags)
        assert refused.returncode == 1
        assert "signed with key " in refused.stdout
        assert "which is not among the issuer's keys: " in refused.stdout


def test_forbidden_token_review_is_reported_and_keys_still_work(plane, default_token, tmp_path) -> None:
    config = yaml.safe_load((plane.folder / "kubeconfig").read_text())
    config["users"][0]["user"] = {"token": create(plane).decode().strip()}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    flags = ("--kubeconfig", str(tmp_path / "kubeconfig"))
    refused = run("verify", default_token, *flags)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "HTTP 403: " in refused.stderr
    assert "system:auth-delegator" in refused.stderr
    assert run("verify", default_token, *flags, "--cluster-keys").returncode == 0


@pytest.fixture(scope="module")
def api_server_key(plane, default_token) -> Signer:
    """Return the API server's own key: with it a test can make what would take an hour to come to pass."""
    key = load_pem_private_key((plane.folder / "accounts.key").read_bytes(), None)
    return Signer("RS256", parse_token(default_token).key_id, key)


def claims(token: Token, **changed) -> dict:
    """Return the claims of an account that there is, as valid now."""
    now = int(time.time())
    whose = {"namespace": "demo", "serviceaccount": {"name": "app", "uid": token.account_uid}}
    return plain_claims(**{"iat": now, "nbf": now, "exp": now + 3600, "kubernetes.io": whose} | changed)


FORGED = {
    "sound": ({}, 0, "accepted"),
    "expired some seconds ago, which is forgiven": ({"exp": -10}, 0, "accepted"),
    "expired": ({"exp": -300}, 1, "expired 5 minutes"),
    "not yet valid": ({"nbf": 300}, 1, "not valid for another "),
    "of another issuer": ({"iss": "https://other"}, 1, f'issued by "https://other", not by "{ISSUER}"'),
    "of no service account": ({"kubernetes.io": None}, 1, "not a service account token"),
    "for nobody by name": ({"aud": None}, 0, "accepted"),
}


@pytest.mark.parametrize("case", FORGED.values(), ids=FORGED)
def test_api_server_and_keys_agree_about_an_own_token(plane, default_token, api_server_key, case) -> None:
    changed, status, said = case
    now = int(time.time())
    times = {name: now + value for name, value in changed.items() if isinstance(value, int)}
    token = api_server_key.sign(claims(parse_token(default_token), **changed | times))
    for flags in ((), ("--cluster-keys",)):
        done = verify(plane, token, *flags)
        assert (done.returncode, said in done.stdout) == (status, True), done.stdout


def test_api_server_and_keys_agree_about_a_foreign_token(plane, default_token, api_server_key) -> None:
    sound = claims(parse_token(default_token))
    for token, said in (
        (signer(key_id=api_server_key.key_id).sign(sound), "the signature was not made with the key"),
        (api_server_key.sign(sound, kid="other"), 'signed with key "other", which is not among the issuer\'s keys'),
        (unsigned({"alg": "none"}, sound), "unsigned (alg: none)"),
        (
            unsigned({"alg": "RS256", "kid": api_server_key.key_id}, sound),
            "the signature was not made with the key",
        ),
    ):
        for flags in ((), ("--cluster-keys",)):
            if not flags and "other" in said and plane.version < (1, 31):
                continue  # such an API server tries every key, whatever `kid` says
            done = verify(plane, token, *flags)
            assert (done.returncode, said in done.stdout) == (1, True), done.stdout


@pytest.mark.parametrize("garbage", [b"", b"hunter2", b"a.b", b"a.b.c", json.dumps({}).encode()])
def test_garbage_is_not_sent_to_the_api_server(plane, garbage) -> None:
    before = plane.audit.count("/apis/authentication.k8s.io/v1/tokenreviews")
    done = verify(plane, garbage)
    assert done.returncode == 2
    assert "cannot read the token" in done.stderr
    assert plane.audit.count("/apis/authentication.k8s.io/v1/tokenreviews") == before
