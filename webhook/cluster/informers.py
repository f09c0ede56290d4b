"""The state that decisions depend on, as the API server has it: policy, legacy Secrets, Namespaces.

Each of the three has a thread with a watch. A worker that starts uses the state that its predecessor stored in files,
as old as it is, until it has a newer one. Threads and connections do not survive a fork: the process that forks the
worker only loads the code, and everything is started in the worker.
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
from webhook.cluster.event_recorder import PolicyEventRecorder
from webhook.cluster.pod_event_recorder import PodEventRecorder
from webhook.cluster.policy_store import PolicyCallbacks, PolicyStore, PolicyTarget
from webhook.cluster.reflector import Reflector, Store, SyncCallbacks
from webhook.cluster.state_persistence import StateFiles, StoredState
from webhook.cluster.state_store import StateStore
from webhook.cluster.transport import Transport
from webhook.core.cluster_state import ClusterState
from webhook.core.owner_event import OwnerEvent

log = logging.getLogger("tokenguard.cluster")
START_TIMEOUT = 15.0
"""How long a worker that starts waits for its state before it answers without one, in seconds: well below
gunicorn's timeout for a worker."""
RESTORED_START_TIMEOUT = 1.0
"""How long it waits if it has a stored state: for what has changed since that was written."""


class RestorableStore(Store[Any], Protocol):
    """A store that can begin with what a predecessor has stored."""

    def restore(self, stored: StoredState) -> bool:
        """Use its part of the stored state; return False if there is none. Called before anything else."""
        ...


class InformerTarget(PolicyTarget, Protocol):
    """What is kept up to date. `last_synced` maps a resource to when it was last synced, in monotonic seconds."""

    last_synced: dict[str, float]

    def use_cluster(self, cluster: ClusterState) -> None:
        """Evaluate by this cluster from now on."""
        ...

    def set_ready(self, part: str) -> None:
        """Remember that something has been loaded."""
        ...


class Informer:
    """Keeps one store and the server's state up to date, in a thread of its own."""

    def __init__(  # noqa: PLR0913, PLR0917 - its parts
        self,
        resource: Resource[Any],
        store: RestorableStore,
        transport: Transport,
        state: InformerTarget,
        synced: Callable[[], None],
        reachability: Reachability,
    ) -> None:
        """Take the parts; `synced` is called after each sync."""
        self._what = resource.name
        self._store = store
        self._state = state
        self._after_sync = synced
        self._failing = False
        self._is_synced = False
        self._settled = threading.Event()
        outcome = SyncCallbacks(self._synced, self._failed)
        self._reflector = Reflector(resource, store, transport, outcome, reachability=reachability)
        state.set_not_ready(self._what, f"{self._what} not loaded yet")

    def restore(self, stored: StoredState) -> bool:
        """Use what a predecessor has stored, as old as it is; return False if there is nothing."""
        last_synced = stored.last_synced.get(self._what)
        if last_synced is None or not self._store.restore(stored):
            return False
        self._state.set_ready(self._what)
        self._state.last_synced[self._what] = last_synced
        log.info("%s: restored from the state that the last worker stored", self._what)
        return True

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._reflector.run, name=f"tokenguard-{self._what}", daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Wait until the store is synced, or until it is plain that it won't be soon."""
        self._settled.wait(seconds)

    def stop(self) -> None:
        """Stop the thread, and end `wait`."""
        self._reflector.stop()
        self._settled.set()

    def _synced(self) -> None:
        self._state.last_synced[self._what] = time.monotonic()
        self._after_sync()
        if self._what != POLICY:  # its store says whether it is valid
            self._state.set_ready(self._what)
        if not self._is_synced:
            log.info("%s: synced", self._what)
        elif self._failing:
            log.info("%s: synced again", self._what)
        self._is_synced = True
        self._failing = False
        self._settled.set()

    def _failed(self, why: str) -> None:
        self._state.set_not_ready(self._what, f"{self._what} not loaded: {why}")
        if not self._failing:
            log.warning("cannot watch %s, retrying: %s", self._what, why)
        self._failing = True
        self._settled.set()


class Informers:
    """Follows the API server, from `start` to `stop`."""

    def __init__(
        self, kubeconfig: Path | None, configmap: str | None, *, objects: bool, state_folder: Path | None = None
    ) -> None:
        """Take where the API server is and what is wanted of it.

        `kubeconfig` is None for the cluster that this runs in. `configmap` is the policy's `namespace/name`, `objects`
        says whether Secrets and Namespaces are wanted, and `state_folder` is where the last valid policy outlives the
        process.
        """
        self._kubeconfig = kubeconfig
        self.configmap = configmap
        self.objects = objects
        self._state_folder = state_folder
        self._informers: list[Informer] = []
        self._is_restored = False

    def attach(self, state: InformerTarget, base: ClusterState, counted: Callable[[bool], None], folder: Path) -> None:
        """Take what is to be kept up to date; starts nothing, so it may be called before a fork."""
        self.connect(ApiClient(self._kubeconfig, folder), state, base, counted, folder)

    def connect(
        self,
        transport: Transport,
        state: InformerTarget,
        base: ClusterState,
        counted: Callable[[bool], None],
        folder: Path,
    ) -> None:
        """Do as `attach`, over this transport."""
        policy_file = (self._state_folder or folder) / f"policy-{(self.configmap or '').replace('/', '.')}.yaml"
        self._files = files = StateFiles(folder, policy_file, base, state.last_synced)
        self._pod_events = PodEventRecorder(transport)
        reachability = Reachability()

        def add(resource: Resource[Any], store: RestorableStore) -> None:
            self._informers.append(Informer(resource, store, transport, state, files.schedule_write, reachability))

        if self.configmap:
            namespace, _, name = self.configmap.partition("/")
            outlets = PolicyCallbacks(
                files.write_policy, files.read_policy, counted, PolicyEventRecorder(transport).tell
            )
            add(config_map(namespace, name), PolicyStore(self.configmap, state, outlets))
        if self.objects:

            def publish(cluster: ClusterState) -> None:
                state.use_cluster(cluster)
                files.use_cluster(cluster)

            index = StateStore(base, publish)
            add(SECRETS, index.secrets)
            add(NAMESPACES, index.namespaces)

    def tell(self, notice: OwnerEvent) -> None:
        """Have an Event made on the owner of a pod; return at once."""
        self._pod_events.tell(notice)

    def restore(self) -> None:
        """Use the state that the last worker stored, if there is one; reads files alone."""
        stored = self._files.read()
        restored = [informer.restore(stored) for informer in self._informers]  # each of them, whatever the others say
        self._is_restored = all(restored)

    def start(self) -> None:
        """Begin to follow; return when all is loaded, or when it is plain that something will not be soon."""
        self._files.start()
        self._pod_events.start()
        for informer in self._informers:
            informer.start()
        deadline = time.monotonic() + (RESTORED_START_TIMEOUT if self._is_restored else START_TIMEOUT)
        for informer in self._informers:
            informer.wait(max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """End it; a thread that is in the middle of something ends with the process."""
        self._files.stop()
        self._pod_events.stop()
        for informer in self._informers:
            informer.stop()
