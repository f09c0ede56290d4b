"""A cluster state as lines: all that evaluations use is read again, and no line is large."""

import msgspec
import pytest

from webhook.core.cluster_state import ClusterState
from webhook.core.cluster_state_io import MAX_PER_LINE, read_cluster, write_cluster

BASE = ClusterState(api_audiences=("https://api",))
MANY = MAX_PER_LINE * 2 + 7


def of(**more):
    return ClusterState(**more, api_audiences=BASE.api_audiences)


@pytest.mark.parametrize("cluster", [
    of(),
    of(
        legacy_tokens={"demo": {"app-token": "app"}, "other": {"a": "", "b": "ü"}},
        namespaces={"demo": frozenset({("team", "payments"), ("tier", "")}), "empty": frozenset()},
        automounts={("demo", "app"): False, ("demo", "other"): True},
    ),
    of(legacy_tokens={"demo": {f"token-{number}": "app" for number in range(MANY)}, "other": {"a": "b"}}),
    of(legacy_tokens={f"team-{number}": {"a": "x", "b": "y"} for number in range(MANY)}),
    of(namespaces={f"team-{number}": frozenset() for number in range(MANY)}),
    of(automounts={("demo", f"app-{number}"): True for number in range(MANY)}),
], ids=["nothing", "some of all", "a large namespace", "many small ones", "namespaces", "accounts"])  # fmt: skip
def test_cluster_state_is_read_as_written(cluster) -> None:
    lines = list(write_cluster(cluster))
    assert read_cluster(lines, BASE) == cluster
    assert read_cluster(b"".join(lines).splitlines(), BASE) == cluster


def test_line_has_a_limited_number_of_entries() -> None:
    secrets = {f"team-{number}": {f"token-{index}": "app" for index in range(7)} for number in range(MANY)}
    for line in write_cluster(of(legacy_tokens={"large": {f"t-{n}": "app" for n in range(MANY)}, **secrets})):
        held = msgspec.json.decode(line)["legacy_tokens"].values()
        assert sum(map(len, held)) <= MAX_PER_LINE


def test_broken_line_is_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        read_cluster([b'{"legacy_tokens": {"demo'], BASE)
