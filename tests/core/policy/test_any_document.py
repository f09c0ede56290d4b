"""Whatever stands in a document: it is sound, or every mistake is one line that can be shown to anybody."""

import random

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.policy.test_document import DESIGN
from webhook.core.policy.document import read_policy
from webhook.core.policy.model import Policy
from webhook.core.policy.shown import shown

PIECES = ["- ", ": ", "{", "}", "[", "]", "&a ", "*a", "|\n", '"', "'", "\n", "\n\n  ", "\t", "# ", "---\n",
          "!!str ", "? ", "%TAG !a! b\n", "~", "0x1F", "1e400", "\\n", '"\\u2028\\e"', "\u2028", "\x85", "\ufeff",
          "\x1b[31m", "ż",
          "apiVersion: v1\nkind: ConfigMap\ndata: {policy.yaml: 'kind: x'}\n"]  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    text = DESIGN
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 6))):
        at = chance.randrange(len(text))
        text = text[:at] + draw(st.sampled_from(PIECES)) + text[at + chance.randrange(3) * chance.randrange(30) :]
    return text.encode()


@settings(max_examples=300, deadline=None)
@given(st.one_of(documents(), st.binary()))
def test_it_is_a_policy_or_mistakes_of_one_printable_line_each(data: bytes) -> None:
    read = read_policy(data)
    if isinstance(read, Policy):
        assert shown(read_policy(yaml.safe_dump(shown(read)).encode())) == shown(read)
    else:
        assert read
        assert all(mistake.line >= 1 and str(mistake).isprintable() for mistake in read)
