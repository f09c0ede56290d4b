"""Documents for a policy: each is a sound one, or every mistake in it is one line that can be shown to anybody."""

import json
import random
import re
from typing import Any

import yaml

from tests.fuzz import seeds
from tests.fuzz.mutation import Mutator
from webhook.core.policy.errors import MAX_BYTES, PolicyError
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.core.policy.serializer import policy_document

PIECES = [
    "- ", ": ", "{", "}", "[", "]", "&a ", "*a", "|\n", ">-\n", '"', "'", "\n", "\n\n  ", "\t", "# ", "---\n", "...\n",
    "!!str ", "!!binary ", "!!python/object:os.system ", "? ", "<<: *a\n", "%TAG !a! b\n", "%YAML 1.2\n---\n", "~",
    "0x1F", "0o17", "1_000", "1:30", "1e400", ".inf", ".nan", "off", "\\n", '"\\u2028\\e"', '"\\ud800"', '"\\x00"',
    "\u2028", "\x85", "\ufeff", "\x1b[31m", "ż", "2027-02-30", "apiVersion: v1\nkind: ConfigMap\n",
    "data: {policy.yaml: 'kind: x'}\n", "\r", "\r\n", "\x00",
]  # fmt: skip


def examine_policy(data: bytes) -> set[str]:
    """Check what is promised of one document; return what is said of it, without what it says."""
    read = read_policy(data)
    if isinstance(read, Policy):
        document = policy_document(read)
        again = read_policy(yaml.dump(document, Dumper=yaml.CSafeDumper).encode())
        assert isinstance(again, Policy), again
        assert policy_document(again) == document, "what is shown of a policy is the same policy"
        return {f"sound: {key}" for key in document}
    assert read
    assert all(mistake.line >= 1 and str(mistake).isprintable() for mistake in read), read
    assert sum(len(str(mistake)) for mistake in read) < 2 * MAX_BYTES
    lines = data.count(b"\n") + data.count(b"\r") + data.count("\x85".encode()) + data.count("\u2028".encode()) + 2
    assert max(mistake.line for mistake in read) <= max(lines + data.count(b"\\"), 2 * lines), read
    return {_shape(mistake) for mistake in read[:20]}


def _shape(mistake: PolicyError) -> str:
    """Return what is wrong, without what others wrote, and where, without where exactly."""
    message = re.sub(r'"(?:[^"\\]|\\.)*"?|\d+', "_", mistake.message)[:100]
    path = re.sub(r"\[[^]]*]|[^\w.]+.*", "", mistake.path)[:40]
    return f"{path}: {message}"


class Policies:
    """The target: documents made of seeds."""

    name = "policies"

    def __init__(self, chance: random.Random) -> None:
        """Take the state that everything at random comes from."""
        self._chance = chance
        self.seeds = seeds.policies()
        pieces = [piece.encode() for piece in PIECES]
        self._mutator = Mutator(self.seeds, chance, self._write, pieces)
        self.keep = self._mutator.keep

    def _write(self, document: Any) -> bytes:
        """Write a document in one of YAML's styles; JSON is one of them."""
        style = self._chance.choice(["json", None, True, False])
        if style == "json":
            return json.dumps(document, ensure_ascii=False).encode()
        allow = self._chance.random() < 0.5
        return yaml.dump(document, Dumper=yaml.CSafeDumper, default_flow_style=style, allow_unicode=allow).encode()

    def next(self) -> tuple[int, bytes]:
        """Return a document; the number before it means nothing here."""
        return 0, self._mutator.next()

    def examine(self, which: int, data: bytes) -> set[str]:  # noqa: ARG002 - as for reviews
        """Check what is promised of one document."""
        return examine_policy(data)
