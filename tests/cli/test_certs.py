"""The `certs` commands; with a real API server: see tests/control_plane."""

import contextlib
import copy
import subprocess
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from tests.cluster.certificates.api import SECRETS, Api
from tests.cluster.certificates.replicas import NOW, WHERE, SimulatedReplica, SimulatedTime, settle
from tests.commands import run_command
from webhook.cli import main
from webhook.cluster.certificates.status import read_status
from webhook.pki.certificate import parse_certificates
from webhook.pki.issue import BACKDATING

SECRET = f"{SECRETS}/tokenguard-tls"


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command("certs", "generate", *arguments)


def test_generate_writes_keys_for_their_owner_only(tmp_path) -> None:
    done = generate("--out", str(tmp_path / "new"), "--tls-san", "10.0.0.7")
    assert done.returncode == 0, done.stderr
    modes = {file.name: file.stat().st_mode & 0o077 for file in (tmp_path / "new").iterdir()}
    assert {name for name, mode in modes.items() if mode == 0} == {"ca.key", "tls.key"}
    assert "10.0.0.7" in parse_certificates((tmp_path / "new/tls.crt").read_bytes())[0].names


def test_generate_overwrites_only_with_force_and_never_a_ca(tmp_path) -> None:
    assert generate("--out", str(tmp_path)).returncode == 0
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    again = generate("--out", str(tmp_path))
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert generate("--out", str(tmp_path), "--force").returncode == 0
    assert (tmp_path / "ca.key").read_bytes() == before["ca.key"]
    assert (tmp_path / "tls.key").read_bytes() != before["tls.key"]


def test_generate_rejects_an_invalid_name(tmp_path) -> None:
    done = generate("--out", str(tmp_path), "--tls-san", "a b")
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "'a b' is neither a DNS name nor an address" in done.stderr


IN_THE_WAY = {
    "a CA that can't be read": "ca.crt",
    "a certificate that can't be replaced": "tls.crt",
    "a patch that can't be replaced": "ca-bundle.yaml",
}


@pytest.mark.parametrize("name", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_generate_reports_a_file_it_cannot_read_or_write(tmp_path, name) -> None:
    (tmp_path / name).mkdir()
    done = generate("--out", str(tmp_path), "--force")
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path / name}: is a directory\n"
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_generate_reports_a_folder_it_cannot_create(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    done = generate("--out", str(tmp_path / "file" / "folder"))
    assert (done.returncode, done.stderr) == (2, f"error: {tmp_path}/file/folder: not a directory\n")


def test_generate_writes_one_line_a_file(tmp_path) -> None:
    done = generate("--out", f"{tmp_path}/a\n::error::b")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("wrote ") for line in done.stdout.splitlines())


def test_status_checks_the_address_before_the_cluster() -> None:
    done = run_command("certs", "status", "--connect", "foo", "--kubeconfig", "/no/such/file")
    assert (done.returncode, done.stderr) == (
        2, "error: --connect foo: 'foo' is not HOST:PORT, like 127.0.0.1:8443 or [::1]:8443\n",
    )  # fmt: skip


@pytest.fixture
def api(monkeypatch) -> Api:
    """Return an API server whose clock is years ahead of this machine's, with a self-managed installation."""
    time, api = SimulatedTime(), Api()
    time.seconds = 10 * 365 * 86400
    api.now = lambda: time.now
    api.install()
    settle(time, SimulatedReplica(api, time))
    monkeypatch.setattr("webhook.cli.certs.connected", lambda *_: contextlib.nullcontext(api))
    return api


def certs(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["certs", *arguments])


def test_status_and_rotate_go_by_the_api_servers_clock(api) -> None:
    assert certs("status").exit_code == 0
    api.put_endpoints({"10.0.0.1": False})
    assert certs("status").exit_code == 1
    before = WHERE.read(api).stored
    done = certs("rotate", "--ca", "--timeout", "0")
    assert (done.exit_code, done.output) == (0, "Secret tokenguard/tokenguard-tls: added a new CA to the bundle\n")
    new, old = WHERE.read(api).stored.cas
    assert (new.not_before, old) == (api.now() - BACKDATING, before.cas[0])


def rotating(api: Api, monkeypatch, events: dict[int, Callable[[], None]]) -> Result:
    """Rotate the CA while a replica reconciles every second; `events` happen after so many seconds."""
    time = SimulatedTime()
    time.seconds = (api.now() - NOW).total_seconds()
    api.now = lambda: time.now
    replica, began = SimulatedReplica(api, time), time.seconds

    def sleep(seconds: float) -> None:
        time.seconds += seconds
        events.get(int(time.seconds - began), lambda: None)()
        replica.look()
        replica.catch_up()

    monkeypatch.setattr("webhook.cli.certs.time.sleep", sleep)
    return certs("rotate", "--ca")


def test_rotate_ca_reports_an_old_ca_that_is_still_trusted(api, monkeypatch) -> None:
    backup = copy.deepcopy(api.objects[SECRET])
    done = rotating(api, monkeypatch, {5: lambda: api.put(SECRET, backup)})
    assert done.exit_code == 2
    assert done.output.endswith(
        "error: an old CA is still trusted: Secret tokenguard/tokenguard-tls was replaced during the rotation; run "
        "'tokenguard certs rotate --ca' again\n"
    )


def test_rotate_ca_with_a_lost_secret_ends_without_the_old_ca(api, monkeypatch) -> None:
    old = WHERE.read(api).stored.cas[0].fingerprint
    done = rotating(api, monkeypatch, {5: lambda: api.delete(SECRET)})
    assert (done.exit_code, "done: " in done.output) == (0, True), done.output
    assert old not in read_status(api, WHERE).trusted_cas
