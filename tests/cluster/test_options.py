"""What `tokenguard serve` can't be told about a cluster."""

import subprocess
import sys

import pytest

CALLS = {
    "not in a pod": (["--policy-configmap", "tokenguard/token-policy"], "--kubeconfig"),
    "two policies": (["--policy-configmap", "a/b", "--policy", "p.yaml"], "two places"),
    "no namespace": (["--policy-configmap", "token-policy"], "NAMESPACE/NAME"),
    "not a path": (["--policy-configmap", "a/../b"], "NAMESPACE/NAME"),
    "no such kubeconfig": (["--kubeconfig", "/no/such/file"], "no such file"),
}


@pytest.mark.parametrize(("flags", "expected"), CALLS.values(), ids=CALLS)
def test_what_cant_be_meant_is_told_in_one_line(flags, expected) -> None:
    command = [sys.executable, "-m", "webhook", "serve", "--tls-self-signed", "--bind", "127.0.0.1:0", *flags]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: --")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
