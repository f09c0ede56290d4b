"""`token inspect` and `token verify --jwks`: what they print, their exit status, and what they never print."""

import contextlib
import json
import os
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner, Result

from tests.tokens.signing import ISSUER, VAULT, jwks, legacy_claims, plain_claims, pod_claims, signer, unsigned
from webhook.cli import main

NOW = int(time.time())
FRESH = {"iat": NOW, "nbf": NOW, "exp": NOW + 3600}


def run(*arguments: str, given: bytes = b"") -> Result:
    """Run a `token` command, which must show neither a traceback nor anything that the token could be made of."""
    done = CliRunner().invoke(main, ["token", *arguments], input=given)
    assert "Traceback" not in done.output
    for part in given.split(b".")[1:]:
        assert len(part) < 20 or part.decode(errors="replace").strip() not in done.output
    return done


@pytest.fixture
def keys(tmp_path) -> str:
    """Return the file with the issuer's keys."""
    (tmp_path / "jwks.json").write_bytes(jwks(signer(), signer("ES256", "key-2")))
    return str(tmp_path / "jwks.json")


def test_inspect_text_shows_every_claim() -> None:
    done = run("inspect", given=signer().sign(pod_claims(iat=NOW, nbf=NOW, exp=NOW + 31_536_000)))
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "kind       bound to a pod: projected into it or requested for it"
    assert lines[1] == "account    demo/app (uid uid-of-app)"
    assert "lifetime   1 year (31536000 seconds)" in lines
    assert "bound to   Pod app-1 (uid uid-of-pod)" in lines
    assert "           Node node-1 (uid uid-of-node)" in lines
    assert """signature  RS256, key "key-1"; not verified (see 'tokenguard token verify')""" in lines
    assert "policy     built-in defaults (revision 8c0cec78672a, mode enforce)" in lines
    assert "           a TokenRequest for such a token in namespace demo would be denied" in lines
    assert any(line.startswith("           reject: token-request-expiration: ") for line in lines)


def test_inspect_json_shows_every_claim() -> None:
    done = run("inspect", "--output", "json", given=signer().sign(plain_claims(**FRESH)))
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert 0 < report.pop("remainingSeconds") <= 3600
    assert report["policy"].pop("findings")[0]["rule"] == "token-request-binding"
    assert report | {"issuedAt": 0, "notBefore": 0, "expiresAt": 0} == {
        "version": 2, "kind": "request", "namespace": "demo",
        "serviceAccount": {"name": "app", "uid": "uid-of-app"}, "subject": "system:serviceaccount:demo:app",
        "audiences": [ISSUER], "issuer": ISSUER, "issuedAt": 0, "notBefore": 0, "expiresAt": 0, "warnAfter": None,
        "lifetimeSeconds": 3600, "requestedLifetimeSeconds": None, "boundTo": [],
        "id": "5f0c7f0e-3a55-4d0f-8a5c-1c1f6f4f0001", "algorithm": "RS256", "keyId": "key-1",
        "signatureVerified": False, "problems": [],
        "policy": {
                "origin": "built-in defaults", "revision": "8c0cec78672a", "outcome": "allowed", "exemptions": [],
                "note": None,
            },
    }  # fmt: skip


INSPECTED = {
    "sound": (plain_claims(**FRESH), 0),
    "two hours": (plain_claims(**FRESH | {"exp": NOW + 7200}), 1),
    "expired": (plain_claims(iat=NOW - 4000, nbf=NOW - 4000, exp=NOW - 400), 1),
    "legacy": (legacy_claims(), 1),
    "no service account's": ({"sub": "jane", "exp": NOW + 60}, 1),
    "nothing": ({}, 1),
}


@pytest.mark.parametrize("output", ["text", "json"])
@pytest.mark.parametrize(("claims", "status"), INSPECTED.values(), ids=INSPECTED)
def test_inspect_exits_with_1_if_there_is_a_finding(claims, status, output) -> None:
    assert run("inspect", "--output", output, given=signer().sign(claims)).exit_code == status


def test_inspect_uses_the_given_policy_and_labels(tmp_path) -> None:
    (tmp_path / "policy.yaml").write_text(
        "apiVersion: tokenguard/v1\nkind: TokenPolicy\ntokens: {maxRequestExpirationSeconds: 600}\n"
        "overrides:\n- {namespaceLabels: {tier: x}, tokens: {maxRequestExpirationSeconds: 3600}}\n"
    )
    token = signer().sign(plain_claims(**FRESH))
    policy = ("--policy", str(tmp_path / "policy.yaml"))
    refused = run("inspect", *policy, given=token)
    assert refused.exit_code == 1
    assert "exceeding the maximum 600s; run: kubectl create token app -n demo --duration=10m" in refused.stdout
    assert run("inspect", *policy, "--label", "tier=x", given=token).exit_code == 0
    bad = run("inspect", "--policy", "-", "@/dev/null", given=b"mode: x")
    assert bad.exit_code == 2


def test_claims_cannot_forge_lines_or_control_the_terminal() -> None:
    evil = "x\naccount    kube-system/admin\x1b[2J\u202e"
    whose = {"namespace": evil, "serviceaccount": {"name": evil, "uid": evil}, "pod": {"name": evil, "uid": evil}}
    claims = plain_claims(**{"kubernetes.io": whose, "iss": evil, "sub": evil, "aud": [evil], "jti": evil})
    for arguments in (("inspect",), ("inspect", "--output", "json")):
        done = run(*arguments, given=signer().sign(claims, kid=evil))
        assert all(line.isprintable() for line in done.stdout.splitlines())
        assert done.stdout.count("\naccount") <= 1


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_token_is_read_from_a_file_and_from_arguments(command, keys, tmp_path) -> None:
    token = signer().sign(plain_claims(**FRESH))
    (tmp_path / "token").write_bytes(token + b"\n")
    flags = ("--jwks", keys) if command == "verify" else ()
    from_file, from_arguments = run(command, f"@{tmp_path}/token", *flags), run(command, token.decode(), *flags)
    assert (from_file.exit_code, from_file.stderr) == (0, "")
    assert from_arguments.exit_code == 0
    assert from_arguments.stderr.startswith("warning: the token is now in your shell's history")
    assert token.split(b".")[2].decode() not in from_arguments.output


@pytest.mark.parametrize(("arguments", "given", "said"), [
    (["@/no/such/file"], b"", "cannot read the file after @: no such file"),
    (["token.txt"], b"", "to read a file, pass @FILE"),
    ([], b"", "it is empty"),
    (["-"], b"garbage", "it has 1 part instead of 3"),
    (["@"], b"", "cannot read the file after @: is a directory"),
    (["--label", "x"], b"", "--label: a label is KEY=VALUE"),
    (["--policy", "-"], b"", "cannot both be standard input"),
], ids=["no file", "a file without @", "nothing", "garbage", "no name", "half a label",
        "two of one stdin"])  # fmt: skip
def test_inspect_fails_without_a_readable_token(arguments, given, said) -> None:
    done = run("inspect", *arguments, given=given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize("call", ["{}", "inspect Bearer {}", "verify Bearer {}", "inspect @{}", "inspect {}."])
def test_misplaced_token_is_not_printed(call: str) -> None:
    token = signer("ES256").sign(plain_claims(**FRESH)).decode()
    done = CliRunner().invoke(main, ["token", *call.format(token).split()])
    assert done.exit_code == 2
    assert token.split(".")[2] not in done.output


def test_verify_prints_accepted_and_rejected_audiences(keys) -> None:
    token = signer("ES256", "key-2").sign(plain_claims(**FRESH, aud=[VAULT]))
    flags = ("--jwks", keys, "--issuer", ISSUER, "--audience", "https://other", "--audience", VAULT)
    done = run("verify", *flags, given=token)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[:3] == [
        f'accepted   for "{VAULT}"', 'rejected   for "https://other"', "account    system:serviceaccount:demo:app",
    ]  # fmt: skip
    report = json.loads(run("verify", *flags, "--output", "json", given=token).stdout)
    assert (report["accepted"], report["audiences"], report["rejectedAudiences"], report["reasons"]) == (
        True, [VAULT], ["https://other"], [],
    )  # fmt: skip


def test_verify_prints_every_reason_of_a_rejection(keys) -> None:
    token = signer().sign(plain_claims(iat=NOW - 4000, nbf=NOW - 4000, exp=NOW - 91_000))
    flags = ("--jwks", keys, "--issuer", "https://elsewhere", "--audience", VAULT)
    done = run("verify", *flags, given=token)
    assert done.exit_code == 1
    first, second, third, account, *_ = done.stdout.splitlines()
    assert first == f'rejected   issued by "{ISSUER}", not by "https://elsewhere"'
    assert second == "           expired 1 day 1 hour ago"
    assert third == f'           issued for "{ISSUER}", not for "{VAULT}"'
    assert account == "account    system:serviceaccount:demo:app (claimed)"
    report = json.loads(run("verify", *flags, "--output", "json", given=token).stdout)
    assert (report["accepted"], report["audiences"], len(report["reasons"])) == (False, [], 3)


VERIFIED = {
    "sound": (signer().sign(plain_claims(**FRESH)), 0),
    "signed by nobody": (unsigned({"alg": "none"}, plain_claims(**FRESH)), 1),
    "signed by a stranger": (signer(key_id="stranger").sign(plain_claims(**FRESH), kid="key-1"), 1),
    "an unknown key": (signer(key_id="stranger").sign(plain_claims(**FRESH)), 1),
    "no service account's": (signer().sign({"sub": "jane", "exp": NOW + 60, "aud": ISSUER}), 1),
    "no claims": (signer().sign({}), 1),
    "garbage": (b"garbage", 2),
    "two parts": (b"aaaa.bbbb", 2),
    "claims of wrong types": (signer().sign(plain_claims(exp="tomorrow")), 2),
}


@pytest.mark.parametrize(("token", "status"), VERIFIED.values(), ids=VERIFIED)
def test_verify_exit_status_of_rejected_and_unreadable_tokens(token, status, keys) -> None:
    assert run("verify", "--jwks", keys, given=token).exit_code == status


@pytest.mark.parametrize(("flags", "said"), [
    (["--jwks", "/no/such/file"], "no such file"),
    (["--jwks", "@"], "no such file"),
    (["--jwks", "/dev/null"], "error: /dev/null: is not a JSON Web Key Set"),
    (["--jwks", "-"], "cannot both be standard input"),
    (["--jwks", "x", "--cluster-keys"], "exclude each other"),
    (["--issuer", "x"], "--issuer needs --jwks"),
    (["--kubeconfig", "/no/such/file"], "error: /no/such/file: no such file or directory"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")  # fmt: skip
def test_verify_fails_without_usable_keys_or_server(flags, said) -> None:
    done = run("verify", *flags, given=signer().sign(plain_claims(**FRESH)))
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_unreadable_token_is_not_sent() -> None:
    done = run("verify", "--kubeconfig", "/no/such/file", given=b"hunter2")
    assert done.exit_code == 2
    assert "cannot read the token" in done.stderr


def test_verify_without_cluster_names_the_kubeconfig_option(tmp_path, monkeypatch) -> None:
    for name in ("KUBECONFIG", "TOKENGUARD_KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run("verify", given=signer().sign(plain_claims(**FRESH)))
    assert done.exit_code == 2
    assert f"no cluster: {tmp_path}/.kube/config does not exist and this is not a pod; use --kubeconfig" in done.stderr


def test_token_typed_on_a_terminal_is_not_echoed() -> None:
    pty = pytest.importorskip("pty", reason="needs a terminal")
    ours, theirs = pty.openpty()
    token = signer("ES256").sign(plain_claims(**FRESH))
    process = subprocess.Popen(
        [sys.executable, "-m", "webhook", "token", "inspect"],
        stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 1000)
    while b"(not shown)" not in shown:
        shown += os.read(ours, 1000)
    os.write(ours, token + b"\n")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"account    demo/app" in output
    os.set_blocking(ours, False)
    with contextlib.suppress(OSError):  # how Linux says that the other side is closed
        shown += os.read(ours, 10_000)
    os.close(ours)
    assert token[:20] not in shown + output
