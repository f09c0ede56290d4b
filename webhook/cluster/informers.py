"""Informers for the state that evaluations depend on: policy, legacy Secrets, Namespaces.

Each resource has a thread with a watch. A worker that starts uses the state that its predecessor stored in files, until
it has a newer one. Threads and connections do not survive a fork, so everything is started in the worker.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from webhook.cluster.api_client import ApiClient
from webhook.cluster.api_types import NAMESPACES, POLICY, SECRETS, Resource, config_map
from webhook.cluster.backoff import Reachability
from webhook.cluster.event_recorder import EventRecorder
from webhook.cluster.policy_store import PolicyCallbacks, PolicyStore, StateTarget
from webhook.cluster.reflector import Reflector, Store, SyncCallbacks
from webhook.cluster.state_persistence import StateFiles, StoredState
from webhook.cluster.state_store import StateStore
from webhook.cluster.transport import Transport
from webhook.core.cluster_state import ClusterState
from webhook.core.owner_event import OwnerEvent

log = logging.getLogger("tokenguard.cluster")
START_TIMEOUT = 15.0
"""How long a worker that starts waits for its state before it answers without one, in seconds: well below gunicorn's
timeout for a worker."""
RESTORED_START_TIMEOUT = 1.0
"""How long it waits for newer state if it has a stored one."""


class RestorableStore(Store[Any], Protocol):
    """A store that can start with stored state."""

    def restore(self, stored: StoredState) -> bool:
        """Use its part of the stored state; return False if there is none. Called before anything else."""
        ...


class Informer:
    """Keeps one store in sync and reports that to the target, in a thread of its own."""

    def __init__(  # noqa: PLR0913, PLR0917 - its parts
        self,
        resource: Resource[Any],
        store: RestorableStore,
        transport: Transport,
        target: StateTarget,
        on_synced: Callable[[], None],
        reachability: Reachability,
    ) -> None:
        self._name = resource.name
        self._store = store
        self._target = target
        self._notify = on_synced
        self._is_failing = self._is_synced = False
        self._settled = threading.Event()
        callbacks = SyncCallbacks(self._on_synced, self._on_error)
        self._reflector = Reflector(resource, store, transport, callbacks, reachability=reachability)
        target.set_not_ready(self._name, f"{self._name} not loaded yet")

    def restore(self, stored: StoredState) -> bool:
        """Use stored state; return False if there is none."""
        last_synced = stored.last_synced.get(self._name)
        if last_synced is None or not self._store.restore(stored):
            return False
        self._target.set_ready(self._name)
        self._target.last_synced[self._name] = last_synced
        log.info("%s: restored the state that the last worker stored", self._name)
        return True

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._reflector.run, name=f"tokenguard-{self._name}", daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Wait until the store is synced or the first try has failed."""
        self._settled.wait(seconds)

    def stop(self) -> None:
        """Stop the thread, and end `wait`."""
        self._reflector.stop()
        self._settled.set()

    def _on_synced(self) -> None:
        self._target.last_synced[self._name] = time.monotonic()
        self._notify()
        if self._name != POLICY:  # its store reports whether the policy is valid
            self._target.set_ready(self._name)
        if not self._is_synced or self._is_failing:
            log.info("%s: synced", self._name)
        self._is_synced, self._is_failing = True, False
        self._settled.set()

    def _on_error(self, reason: str) -> None:
        self._target.set_not_ready(self._name, f"{self._name} not loaded: {reason}")
        if not self._is_failing:
            log.warning("cannot watch %s, retrying: %s", self._name, reason)
        self._is_failing = True
        self._settled.set()


class Informers:
    """All informers of one API server, and the recorder of Events."""

    def __init__(  # noqa: PLR0913 - what uses the state, and options
        self,
        target: StateTarget,
        base: ClusterState,
        on_reload: Callable[[bool], None],
        folder: Path,
        *,
        kubeconfig: Path | None = None,
        configmap: str | None = None,
        objects: bool = True,
        state_folder: Path | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Watch the policy in `configmap` (`namespace/name`) and, with `objects`, Secrets and Namespaces.

        The `target` is kept up to date; `base` has the cluster's other properties. `on_reload` gets whether a policy
        was accepted. `folder` is private to the server. `kubeconfig` is None in a cluster. `state_folder`, which
        outlives the process, stores the last valid policy. Starts nothing, so it may be created before a fork.
        """
        self._informers: list[Informer] = []
        self._is_restored = False
        transport = transport or ApiClient(kubeconfig, folder)
        policy_file = (state_folder or folder) / f"policy-{(configmap or '').replace('/', '.')}.yaml"
        self._files = files = StateFiles(folder, policy_file, base, target.last_synced)
        self._events = EventRecorder(transport)
        reachability = Reachability()

        def add(resource: Resource[Any], store: RestorableStore) -> None:
            self._informers.append(Informer(resource, store, transport, target, files.schedule_write, reachability))

        if configmap:
            namespace, _, name = configmap.partition("/")
            callbacks = PolicyCallbacks(
                files.write_policy, files.read_policy, on_reload, self._events.record_policy_errors
            )
            add(config_map(namespace, name), PolicyStore(configmap, target, callbacks))
        if objects:

            def publish(cluster: ClusterState) -> None:
                target.use_cluster(cluster)
                files.use_cluster(cluster)

            store = StateStore(base, publish)
            add(SECRETS, store.secrets)
            add(NAMESPACES, store.namespaces)

    def record_event(self, event: OwnerEvent) -> None:
        """Have an Event created on the owner of a pod; return at once."""
        self._events.record(event)

    def restore(self) -> None:
        """Use the state that the last worker stored, if any; reads only files."""
        stored = self._files.read()
        restored = [informer.restore(stored) for informer in self._informers]
        self._is_restored = all(restored)

    def start(self) -> None:
        """Start all; return when everything is loaded or the first try of something has failed."""
        self._files.start()
        self._events.start()
        for informer in self._informers:
            informer.start()
        deadline = time.monotonic() + (RESTORED_START_TIMEOUT if self._is_restored else START_TIMEOUT)
        for informer in self._informers:
            informer.wait(max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """Stop all; a thread that is in a request ends with the process."""
        self._files.stop()
        self._events.stop()
        for informer in self._informers:
            informer.stop()
