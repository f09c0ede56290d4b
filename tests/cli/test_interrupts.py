"""Ctrl-C ends every command at any moment with status 130 and without a traceback."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import run_command
from tests.interruptions import CHECKOUT, How, interrupt_at_each_write
from tests.kubeconfigs import write_kubeconfig
from tests.migrate.workloads import legacy_secret, workload

IMPORTED = "import sys; sys.stderr.write('import\\n'); sys.stderr.flush(); import time; time.sleep(60)"


def start(*command: str, path: str = "", **streams) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": f"{path}:{CHECKOUT}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "webhook", *command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **streams,
    )  # fmt: skip


def interrupted(process: subprocess.Popen) -> tuple[int, str]:
    """Interrupt a process; return the status that a shell shows, and its errors."""
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return (128 - process.returncode if process.returncode < 0 else process.returncode), errors.strip("\n")


@pytest.mark.parametrize("module", ["click", "yaml", "msgspec"])
def test_interrupt_during_an_import_ends_silently(tmp_path, module) -> None:
    (tmp_path / f"{module}.py").write_text(IMPORTED)
    process = start("check", "-", path=str(tmp_path))
    assert process.stderr.readline() == "import\n"
    assert interrupted(process) == (130, "")


@pytest.mark.parametrize("command", ["check -", "policy validate", "token inspect", "audit summarize -"])
def test_interrupt_while_reading_input_ends_silently(command) -> None:
    process = start(*command.split())
    wait_until_reading(process)
    assert interrupted(process) == (130, "")


def test_interrupt_of_a_request_leaves_no_files(tmp_path) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", 9, {"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "interactiveMode": "Never",
        "args": ["-c", "echo started >&2; touch started; exec sleep 60"],
    }})  # fmt: skip
    (tmp_path / "tmp").mkdir()
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(tmp_path / "tmp")
    try:
        process = start("scan", "--kubeconfig", str(tmp_path / "kubeconfig"), cwd=tmp_path, start_new_session=True)
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "\n")
    assert [*(tmp_path / "tmp").iterdir()] == []


VOLUMES = [{"name": "t", "secret": {"secretName": "app-token"}}]


def using_legacy(name: str, namespace: str):
    spec = {"serviceAccountName": "app", "containers": [{"name": "main"}], "volumes": VOLUMES}
    return [legacy_secret("app-token", namespace=namespace), workload("Deployment", name, spec, namespace)]


def written(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("how", [How.KILLED, How.CTRL_C])
def test_migration_that_was_interrupted_finishes_when_run_again(tmp_path, how) -> None:
    """In a namespace a workload is finished and another one is new; another namespace is finished."""
    before, after, out = (tmp_path / name for name in ("before.json", "after.json", "out"))
    finished = workload("Deployment", "web", {"containers": [{"name": "main"}]}, "ci")
    before.write_text("\n---\n".join(map(json.dumps, using_legacy("old", "shop") + using_legacy("web", "ci"))))
    after.write_text("\n---\n".join(map(json.dumps, [*using_legacy("new", "shop"), finished])))

    def prepare() -> None:
        shutil.rmtree(out, ignore_errors=True)
        assert run_command("migrate", str(before), "--output-dir", str(out)).returncode == 1
        readme = out / "shop/README.md"
        readme.write_text(readme.read_text().replace("- [ ] **Image", "- [x] **Image"))

    command = ("migrate", str(after), "--output-dir", str(out))
    prepare()
    assert run_command(*command).returncode == 1
    expected = written(out)
    assert expected.keys() == {"README.md"} | {
        f"shop/{name}" for name in ("README.md", "kustomization.yaml", "deployment-new.yaml")
    }  # fmt: skip
    assert "- [x] **Image" in expected["shop/README.md"]
    number = 0
    for number in interrupt_at_each_write(out, how, command, prepare, complete=1):
        assert run_command(*command).returncode == 1
        assert written(out) == expected, number
    assert number > 10
    assert written(out) == expected


def wait_until_reading(process: subprocess.Popen) -> None:
    """Wait until a process waits in a read of its standard input."""
    syscall = Path(f"/proc/{process.pid}/syscall")
    while True:
        assert process.poll() is None
        call = syscall.read_text().split()
        if call[0] in {"0", "63"} and call[1] == "0x0":  # read(0, ...) on x86-64 or arm64
            return
        time.sleep(0.02)
