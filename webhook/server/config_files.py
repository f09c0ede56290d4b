"""Loads what reviews are evaluated with: the policy, the cluster's objects, and the API server's audiences."""

import base64
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from webhook.core.cluster_state import ClusterState
from webhook.core.cluster_state_io import read_cluster, write_cluster
from webhook.core.manifests import cluster_of, read_manifests
from webhook.core.policy.loader import default_policy, read_policy
from webhook.core.policy.model import Policy
from webhook.server.file_watcher import RejectedError, WatchedFiles
from webhook.server.options import ServeOptions
from webhook.server.state import State

log = logging.getLogger("tokenguard")
OWN_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def config_checks(
    options: ServeOptions, state: State, base: ClusterState, folder: Path, count: Callable[[str, bool], None]
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Load defaults, and yield the checks of files for a `FileWatcher`.

    `base` has the cluster's properties besides objects. `folder` is private to the server. `count` is called with what
    was read and whether it was accepted.
    """
    watch = partial(WatchedFiles, folder=folder, count=count, on_error=state.set_not_ready)
    if options.policy:
        yield "policy", watch("policy", (options.policy,), partial(_use_policy, state, options.policy)).check
    elif not options.policy_configmap:
        policy = default_policy()
        log.warning("no --policy: the default policy is in force, mode %s, and nothing is injected", policy.mode)
        state.use_policy(policy)
    if options.objects:
        use, restore = partial(_use_objects, state, base), partial(_restore_objects, state, base)
        yield "objects", watch("objects", (options.objects,), use, restore=restore).check
    elif not options.live:
        log.warning("no --objects: legacy token Secrets are not known, so no reference to one is found")
        state.use_cluster(base)


def _use_policy(state: State, source: Path, document: bytes) -> bytes:
    policy = read_policy(document)
    if not isinstance(policy, Policy):
        raise RejectedError(*map(str, policy))
    state.use_policy(policy)
    log.info("policy in force: %s, revision %s, mode %s", source, policy.revision, policy.mode)
    return document


def _use_objects(state: State, base: ClusterState, document: bytes) -> bytes:
    """Use manifests; return the cluster's objects without the rest of the manifests, which may be Secret data."""
    reading = read_manifests(document)
    if reading.problems:
        raise RejectedError(*map(str, reading.problems))
    cluster = cluster_of(reading.manifests, base)
    state.use_cluster(cluster)
    return b"".join(write_cluster(cluster))


def _restore_objects(state: State, base: ClusterState, stored: bytes) -> None:
    state.use_cluster(read_cluster(stored.splitlines(), base))


class _Claims(msgspec.Struct):
    aud: str | list[str] = ""


class OwnTokenAudiences:
    """The API server's audiences, as the webhook's own service account token names them; none without a token.

    The kubelet replaces the token about every 48 minutes. The audiences change if somebody changes the API server's
    `--api-audiences` or issuer.
    """

    def __init__(self, state: State, token: Path = OWN_TOKEN) -> None:
        """Read the token once."""
        self._state = state
        self._token = token
        self.names = self._read()

    def check(self) -> None:
        """Use the token's audiences if they have changed. A token that can't be read changes nothing."""
        names = self._read()
        if names and names != self.names:
            self.names = names
            self._state.use_api_audiences(names)
            log.info("the API server's audiences, as in tokenguard's own token, are now %s", ", ".join(names))

    def _read(self) -> tuple[str, ...]:
        try:
            payload = self._token.read_text(encoding="ascii").split(".")[1]
            claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims)
        except (OSError, ValueError, IndexError):  # what msgspec and base64 raise are ValueErrors
            return ()
        return tuple(filter(None, [claims.aud] if isinstance(claims.aud, str) else claims.aud))
