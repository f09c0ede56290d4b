"""The index of Secrets and Namespaces: current for new readers, unchanged for those who read already."""

import pytest

from webhook.cluster.api_types import Annotations, ApiObject, Metadata
from webhook.cluster.reflector import ObjectChange
from webhook.cluster.state_store import StateStore
from webhook.core.cluster_state import ClusterState


def secret(name, namespace="demo", account="app"):
    return ApiObject(metadata=Metadata(name, namespace, annotations=Annotations(account)))


def namespace(name, **labels):
    return ApiObject(metadata=Metadata(name, labels=labels or None))


@pytest.fixture
def snapshots():
    return []


@pytest.fixture
def index(snapshots):
    index = StateStore(ClusterState(api_audiences=("me",)), snapshots.append)
    index.secrets.replace([secret("a"), secret("b", "other")])
    index.namespaces.replace([namespace("demo", tier="web"), namespace("other")])
    return index


def test_cluster_is_published_once_both_are_loaded(snapshots) -> None:
    index = StateStore(ClusterState(), snapshots.append)
    index.secrets.replace([])
    assert snapshots == []
    index.namespaces.replace([])
    assert len(snapshots) == 1


@pytest.mark.usefixtures("index")
def test_cluster_has_loaded_and_configured_state(snapshots) -> None:
    [cluster] = snapshots
    assert cluster.legacy_tokens == {"demo": {"a": "app"}, "other": {"b": "app"}}
    assert cluster.namespace_labels("demo") == {("tier", "web")}
    assert cluster.api_audiences == ("me",)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([(secret("c"), False)], {"demo": {"a": "app", "c": "app"}, "other": {"b": "app"}}),
        ([(secret("a"), True)], {"other": {"b": "app"}}),
        ([(secret("a", account="new"), False)], {"demo": {"a": "new"}, "other": {"b": "app"}}),
        ([(secret("c"), False), (secret("c"), True)], {"demo": {"a": "app"}, "other": {"b": "app"}}),
        ([(secret("a"), True), (secret("a"), False)], {"demo": {"a": "app"}, "other": {"b": "app"}}),
        ([(ApiObject(metadata=Metadata("d", "demo")), False)], {"demo": {"a": "app", "d": ""}, "other": {"b": "app"}}),
    ],
    ids=["added", "the namespace's last one deleted", "another account", "come and gone", "recreated", "no account"],
)
def test_changes_are_in_the_next_cluster(index, snapshots, changes, expected) -> None:
    index.secrets.apply([ObjectChange(*change) for change in changes])
    assert snapshots[-1].legacy_tokens == expected


def test_published_cluster_never_changes_and_shares_equal_parts(index, snapshots) -> None:
    before = snapshots[-1]
    index.secrets.apply([ObjectChange(secret("c"), deleted=False)])
    after = snapshots[-1]
    assert before.legacy_tokens["demo"] == {"a": "app"}
    assert after.legacy_tokens["demo"] == {"a": "app", "c": "app"}
    assert after.legacy_tokens["other"] is before.legacy_tokens["other"]
    assert after.namespaces is before.namespaces


def test_irrelevant_change_is_not_published(index, snapshots) -> None:
    index.secrets.apply([ObjectChange(secret("a"), deleted=False), ObjectChange(secret("z"), deleted=True)])
    index.namespaces.apply([ObjectChange(namespace("demo", tier="web"), deleted=False)])
    assert len(snapshots) == 1


def test_namespaces_are_relabelled_and_deleted(index, snapshots) -> None:
    index.namespaces.apply(
        [ObjectChange(namespace("demo", tier="db"), deleted=False), ObjectChange(namespace("other"), deleted=True)]
    )
    assert snapshots[-1].namespaces == {"demo": frozenset({("tier", "db")})}


def test_disabled_secrets_are_counted(index, snapshots) -> None:
    def labelled(name, **labels):
        return ApiObject(metadata=Metadata(name, "demo", labels=labels or None, annotations=Annotations("app")))

    marked = labelled("a", **{"kubernetes.io/legacy-token-invalid-since": "2026-11-20"})
    for change, count in (
        ((labelled("a", team="x"), False), 0), ((marked, False), 1), ((marked, False), 1),
        ((labelled("a", **{"kubernetes.io/legacy-token-invalid-since": ""}), False), 0), ((marked, False), 1),
        ((marked, True), 0),
    ):  # fmt: skip
        index.secrets.apply([change])
        assert snapshots[-1].disabled_tokens == count
    assert len(snapshots) == 5  # a change of another label is published to nobody
    index.secrets.replace([marked, secret("b")])
    assert snapshots[-1].disabled_tokens == 1
