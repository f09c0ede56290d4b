"""Compiles the modules of `webhook.compiled` with mypyc if TOKENGUARD_COMPILE=1 is set; see pyproject.toml, too."""

import json
import os
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from webhook.compiled import HASHES, MODULES, hashes_of, path_of  # noqa: E402 - found by the line above


class _BuildAndRecord(build_ext):
    """Compiles, and records what was compiled."""

    def run(self) -> None:
        super().run()
        if not self.inplace:
            (Path(self.build_lib) / "webhook" / HASHES).write_text(json.dumps(hashes_of(ROOT), indent=1))


if os.environ.get("TOKENGUARD_COMPILE") == "1":
    from mypyc.build import mypycify

    setup(
        ext_modules=mypycify([path_of(module) for module in MODULES], opt_level="2", debug_level="0"),
        cmdclass={"build_ext": _BuildAndRecord},
    )
else:
    setup()
