"""`tokenguard check` over many manifests, beside PyYAML's own reading of them."""

import subprocess
import sys
import time
from pathlib import Path

from tests.bench.table import Row

MANIFESTS = 10_000
_READ = """\
import pathlib, sys, yaml
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    list(yaml.load_all(path.read_text(), yaml.CSafeLoader))
"""
_POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: app-{number}, namespace: team-{team}, labels: {{app: shop}}}}
spec:
  containers:
  - name: app
    image: registry.example.com/app:{number}
    env:
    - {{name: MODE, value: production}}
    volumeMounts:
    - {{name: token, mountPath: /var/run/secrets/tokens/vault}}
  volumes:
  - name: token
    projected:
      sources:
      - serviceAccountToken: {{audience: https://vault.example.com, expirationSeconds: 1800, path: token}}
"""


def check(folder: Path, count: int = MANIFESTS, rounds: int = 3) -> Row:
    """Return the seconds that processes take to evaluate so many files, and only to read them: the best of rounds."""
    folder.mkdir()
    for number in range(count):
        (folder / f"pod-{number:05}.yaml").write_text(_POD.format(number=number, team=number % 100))
    command = [sys.executable, "-m", "webhook", "check", str(folder)]
    read = [sys.executable, "-c", _READ, str(folder)]
    ours = theirs = float("inf")
    for _ in range(rounds):
        ours, theirs = min(ours, _seconds(command)), min(theirs, _seconds(read))
    compared = f"{theirs:.1f} (only reading them, with PyYAML in C)"
    return Row(f"check of {count:,} manifests, s", f"{ours:.1f}", compared, ours / theirs)


def _seconds(command: list[str]) -> float:
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr[-2000:]
    return time.monotonic() - began
