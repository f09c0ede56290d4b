"""`tokenguard demo`."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import run_command

CHECKOUT = Path(__file__).parents[2]
RECORDED = {
    "plain": "pod-plain",
    "legacy-token": "pod-legacy-env",
    "day-long-token": "pod-long-expiration",
    "seed": "pod-seed-secure",
}


@pytest.mark.parametrize("name", RECORDED)
def test_demo_reviews_are_recorded_ones(name: str) -> None:
    recorded = CHECKOUT / "tests" / "recorded" / f"{RECORDED[name]}.mutate.pods.json"
    assert (CHECKOUT / "webhook/demo/reviews" / f"{name}.json").read_bytes() == recorded.read_bytes()


def test_demo_shows_decision_and_changes_of_each_pod() -> None:
    done = run_command("demo")
    assert done.returncode == 0, done.stderr
    before, plain, legacy, long, seed = re.split(r"\n\d\. .* -+\n", done.stdout)
    assert "\n  inject:\n  - name: vault\n" in before
    assert "  PATCHED:\n    token-expiration: spec.volumes[0].projected.sources[0] " in plain
    assert "    -        expirationSeconds: 3607\n    +        expirationSeconds: 3600\n" in plain
    assert "    +- name: tokenguard-vault\n" in plain
    assert "    legacy-token-reference: spec.containers[0].env[1] reads the long-lived token" in legacy
    assert "  Recorded in the audit log:\n    id " in legacy
    assert "    decision        denied\n" in legacy
    assert "  The author sees this warning:\n    token-expiration: spec.volumes[0]" in long
    assert "    -        expirationSeconds: 86400\n    +        expirationSeconds: 3600\n" in long
    assert all('Recorded in the audit log as "patched"' in pod for pod in (plain, long, seed))


def test_demo_shows_no_change_twice() -> None:
    _, _, _, long, seed = re.split(r"\n\d\. .* -+\n", run_command("demo").stdout)
    assert "expirationSeconds: 3607" not in long
    assert "- name: tokenguard-vault" not in long
    assert "  Changes: those of pod 1.\n" in seed


def test_demo_colours_changes_on_a_terminal_unless_no_color(monkeypatch) -> None:
    assert "\x1b[32m+- name: tokenguard-vault\x1b[0m" in _on_terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in _on_terminal()


def test_demo_shows_the_command_as_it_was_called() -> None:
    program = f"{sys.executable} -m webhook"
    done = subprocess.run([*program.split(), "demo"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert f"\n$ {program} serve \\\n    --bind 127.0.0.1:0 " in done.stdout
    steps = done.stdout.partition("Next steps:\n")[2]
    assert (steps.count("\n- "), f"  $ {program} check FOLDER\n" in steps) == (3, True)


def test_demo_fits_80_columns() -> None:
    lines = run_command("demo").stdout.splitlines()
    too_long = [line for line in lines if len(line) > 80 and not line.startswith(("$ ", "    --"))]
    assert too_long == []  # the paths in the command are this machine's


def _on_terminal() -> str:
    pty = pytest.importorskip("pty", reason="needs a terminal")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "webhook", "demo"], stdout=theirs)
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # how Linux says that the other side is closed
        while chunk := os.read(ours, 4096):
            written += chunk
    os.close(ours)
    assert process.wait(60) == 0
    return written.decode()
