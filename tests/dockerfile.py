"""The Dockerfile's instructions, for tests."""

import re

from tests.documented import CHECKOUT

_DOCKERFILE = re.sub(r"^#.*\n", "", (CHECKOUT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")


def steps(instruction: str) -> list[str]:
    return re.findall(rf"^{instruction} +(.*)$", _DOCKERFILE, re.MULTILINE)
