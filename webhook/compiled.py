"""Which modules mypyc compiles where TOKENGUARD_COMPILE=1 is set at the build (`setup.py`), and whether it did.

`python -m webhook.compiled` fails unless each of them is loaded from an extension module that was compiled from the
source beside it. The image's build runs it. The keywords and annotations of a class are lost in a compiled module. So
no module in the list has a struct that is decoded or a dataclass, and its structs derive from `webhook.core.structs`.
"""

import hashlib
import importlib
import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

MODULES = (
    "webhook.audit.record",
    "webhook.core.audiences",
    "webhook.core.evaluate",
    "webhook.core.exclusions",
    "webhook.core.json_patch",
    "webhook.core.lifetimes",
    "webhook.core.paths",
    "webhook.core.pod_context",
    "webhook.core.rules.api_token_automount",
    "webhook.core.rules.inject",
    "webhook.core.rules.kubelet_hostpath",
    "webhook.core.rules.legacy_token_reference",
    "webhook.core.rules.legacy_token_secret",
    "webhook.core.rules.token_audience",
    "webhook.core.rules.token_expiration",
    "webhook.core.rules.token_request_audience",
    "webhook.core.rules.token_request_binding",
    "webhook.core.rules.token_request_expiration",
    "webhook.core.rules.token_subpath",
    "webhook.core.secret_refs",
    "webhook.core.secret_volume_migration",
    "webhook.core.token_context",
)
HASHES = "compiled.json"
"""Beside this file in a compiled installation: the SHA-256 of the source that each module was compiled from."""
_SUFFIXES = tuple(importlib.machinery.EXTENSION_SUFFIXES)


def path_of(module: str) -> str:
    """Return the path of a module's source, below the folder that contains `webhook`."""
    return f"{module.replace('.', '/')}.py"


def hashes_of(root: Path, modules: Sequence[str] = MODULES) -> dict[str, str]:
    """Return the SHA-256 of each module's source below the folder that contains `webhook`."""
    return {module: hashlib.sha256((root / path_of(module)).read_bytes()).hexdigest() for module in modules}


def problems(hashes: Mapping[str, str], modules: Sequence[str] = MODULES) -> Iterator[str]:
    """Yield what is wrong with the modules that should be compiled; `hashes` are those of the compiled sources."""
    for module in modules:
        file = importlib.import_module(module).__file__ or ""
        if not file.endswith(_SUFFIXES):
            yield f"{module} is not compiled: it is loaded from {file}"
            continue
        source = Path(file).parent / Path(path_of(module)).name
        if hashlib.sha256(source.read_bytes()).hexdigest() != hashes.get(module):
            yield f"{module} is stale: {source} is not what it was compiled from"


def main() -> int:
    """Check this installation, and return the exit status."""
    recorded = Path(__file__).with_name(HASHES)
    mistakes = list(problems(json.loads(recorded.read_bytes()) if recorded.exists() else {}))
    print(*(mistakes or [f"{len(MODULES)} modules are compiled"]), sep="\n")  # noqa: T201 - what the build's log shows
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
