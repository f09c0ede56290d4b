"""The files that are judged by: the policy, and manifests of the objects in the cluster."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from webhook.core.cluster import Cluster
from webhook.core.cluster_lines import read_cluster, write_cluster
from webhook.core.manifests import cluster_of, read_manifests
from webhook.core.policy.document import default_policy, read_policy
from webhook.core.policy.model import Policy
from webhook.server.follow import Followable, Followed
from webhook.server.options import ServeOptions
from webhook.server.own_token import OwnAudiences
from webhook.server.state import State

log = logging.getLogger("tokenguard")


def judged_by(
    options: ServeOptions, state: State, counted: Callable[[str, bool], None], folder: Path
) -> Iterator[Followable]:
    """Put in force what needs no file, and yield the files that are to be followed.

    `counted` is told what was read and whether it was accepted; `folder` is private to the server.
    """
    audiences = OwnAudiences(state.use_api_audiences)
    base = Cluster(api_audiences=audiences.names) if audiences.names else Cluster()
    yield audiences
    if options.live:
        options.live.attach(state, base, partial(counted, "policy"), folder)
    if options.policy:
        yield Followed(
            "policy", (options.policy,), folder, partial(_use_policy, state), partial(_use_policy, state),
            partial(state.lacks, "policy"), partial(counted, "policy"),
        )  # fmt: skip
    elif not (options.live and options.live.configmap):
        log.warning("no --policy: the default policy is in force, and nothing is injected")
        state.use_policy(default_policy())
    if options.objects:
        yield Followed(
            "objects", (options.objects,), folder, partial(_use_objects, state, base), partial(_restore, state, base),
            partial(state.lacks, "objects"), partial(counted, "objects"),
        )  # fmt: skip
    elif not (options.live and options.live.objects):
        log.warning("no --objects: no Secret is known to hold a legacy token, so none is found")
        state.use_cluster(base)


def _use_policy(state: State, data: bytes) -> bytes | tuple[str, ...]:
    policy = read_policy(data)
    if not isinstance(policy, Policy):
        return tuple(str(mistake) for mistake in policy)
    state.use_policy(policy)
    return data


def _use_objects(state: State, base: Cluster, data: bytes) -> bytes | tuple[str, ...]:
    reading = read_manifests(data)
    if reading.problems:
        return tuple(str(problem) for problem in reading.problems)
    cluster = cluster_of(reading.manifests, base)
    state.use_cluster(cluster)
    return b"".join(write_cluster(cluster))


def _restore(state: State, base: Cluster, kept: bytes) -> None:
    state.use_cluster(read_cluster(kept.splitlines(), base))
