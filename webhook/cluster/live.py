"""The state that decisions are made by, as the API server has it: policy, legacy Secrets, Namespaces.

Every worker process has its own: three threads, three watches, its own copy of the index. Nothing is shared between
processes that a reader would have to wait for or could find half-written, and a worker that dies takes nothing with
it. The price is one index for each worker (`tests/bench/live_state.py` measures it) and three watches of the API
server, which serves watches from its cache. A worker that starts takes up what another has kept in a file, as old as
it is, and judges by that until it has been told better. Threads don't survive a fork, and a client's connections must
not: so the process that forks the workers only loads the code, and everything is started in the worker.
"""

import logging
import threading
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, Protocol

from webhook.cluster.backoff import Reachability
from webhook.cluster.connection import Connection
from webhook.cluster.events import Teller
from webhook.cluster.index import Index
from webhook.cluster.kept import Keeper, Kept
from webhook.cluster.objects import NAMESPACES, POLICY, SECRETS, Resource, config_map
from webhook.cluster.once import Once
from webhook.cluster.pod_events import PodEvents
from webhook.cluster.policy import Judged, Outlets, PolicyStore
from webhook.cluster.reflector import Outcome, Reflector, Store
from webhook.cluster.transport import Transport
from webhook.core.cluster import Cluster
from webhook.core.notice import Notice

log = logging.getLogger("tokenguard.cluster")
PATIENCE = 15.0
"""How long a worker that starts waits for its state before it answers without one, in seconds: it must be well below
the time after which gunicorn takes it for dead."""
KEPT_PATIENCE = 1.0
"""How long one waits that has taken up the last known state: for what may have changed within the last second."""


class Restorable(Store[Any], Protocol):
    """A store that can begin with what another worker has kept."""

    def restore(self, kept: Kept) -> bool:
        """Take its part of that until there is something newer; return False where there is none.

        Called by the one thread that calls the rest, or before that begins.
        """
        ...


class State(Judged, Protocol):
    """What is kept up to date."""

    heard: MutableMapping[str, float]

    def use_cluster(self, cluster: Cluster) -> None:
        """Judge by this cluster from now on."""
        ...

    def has(self, what: str) -> None:
        """Remember that something has been loaded."""
        ...


class LiveState:
    """Follows the API server, from `start` to `stop`."""

    def __init__(
        self, kubeconfig: Path | None, configmap: str | None, *, objects: bool, state_folder: Path | None = None
    ) -> None:
        """Take where the API server is (None: this cluster's), the policy's `namespace/name`, whether Secrets and
        Namespaces are wanted, and the folder in which the last valid policy outlives the process.
        """  # noqa: D205 - one thought
        self._kubeconfig = kubeconfig
        self.configmap = configmap
        self.objects = objects
        self._state_folder = state_folder
        self._settled: dict[str, threading.Event] = {}
        self._reflectors: dict[str, Reflector[Any]] = {}
        self._failing: set[str] = set()
        self._take_up: list[Callable[[Kept], bool]] = []
        self._reachability = Reachability()

    def attach(self, state: State, base: Cluster, counted: Callable[[bool], None], folder: Path) -> None:
        """Take what is to be kept up to date; starts nothing, so it may be called before a fork."""
        self.connect(Connection(self._kubeconfig, folder), state, base, counted, folder)

    def connect(
        self, transport: Transport, state: State, base: Cluster, counted: Callable[[bool], None], folder: Path
    ) -> None:
        """Do as `attach`, over this transport."""
        policy_file = (self._state_folder or folder) / f"policy-{(self.configmap or '').replace('/', '.')}.kept"
        self._keeper = keeper = Keeper(folder, policy_file, base, state.heard)
        self._pod_events = PodEvents(transport)
        if self.configmap:
            namespace, _, name = self.configmap.partition("/")
            outlets = Outlets(
                Once(folder / "live-policy.told"),
                keeper.keep_policy,
                keeper.read,
                counted,
                Teller(transport).tell,
            )
            policy = PolicyStore(self.configmap, state, outlets)
            self._add(config_map(namespace, name), policy, transport, state)
        if self.objects:

            def publish(cluster: Cluster) -> None:
                state.use_cluster(cluster)
                keeper.keep_cluster(cluster)

            index = Index(base, publish)
            self._add(SECRETS, index.secrets, transport, state)
            self._add(NAMESPACES, index.namespaces, transport, state)

    def tell(self, notice: Notice) -> None:
        """Have an Event made on the owner of a pod; return at once."""
        self._pod_events.tell(notice)

    def start(self) -> None:
        """Begin to follow; return when all is loaded, or when it is plain that something will not be soon."""
        kept = self._keeper.read()
        known = [take_up(kept) for take_up in self._take_up]
        self._keeper.start()
        self._pod_events.start()
        for what, reflector in self._reflectors.items():
            threading.Thread(target=reflector.run, name=f"tokenguard-{what}", daemon=True).start()
        deadline = time.monotonic() + (KEPT_PATIENCE if all(known) else PATIENCE)
        for settled in self._settled.values():
            settled.wait(max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """End it; a thread that is in the middle of something ends with the process."""
        self._keeper.stop()
        self._pod_events.stop()
        for reflector in self._reflectors.values():
            reflector.stop()
        for settled in self._settled.values():
            settled.set()  # for a start that still waits

    def _add(self, resource: Resource[Any], store: Restorable, transport: Transport, state: State) -> None:
        what = resource.what
        settled = self._settled[what] = threading.Event()
        loaded = False

        def heard() -> None:
            nonlocal loaded
            state.heard[what] = time.monotonic()
            self._keeper.note_heard()
            if what != POLICY:  # whose store knows whether it is sound
                state.has(what)
            if not loaded:
                loaded = True
                log.info("%s: followed", what)
            elif what in self._failing:
                log.info("%s: followed again", what)
            self._failing.discard(what)
            settled.set()

        def failed(why: str) -> None:
            if what not in state.heard:
                take_up(self._keeper.read())
            state.lacks(what, f"{what} not loaded: {why}")
            if what not in self._failing:
                log.warning("%s can't be followed, and will be tried again: %s", what, why)
            self._failing.add(what)
            settled.set()

        def take_up(kept: Kept) -> bool:
            """Judge by what another worker has kept, as old as it is; return False where there is no such thing."""
            if what not in kept.heard or not store.restore(kept):
                return False
            state.has(what)
            state.heard[what] = kept.heard[what]
            log.info("%s: taken up as another worker last knew it", what)
            return True

        state.lacks(what, f"{what} not loaded yet")
        self._take_up.append(take_up)
        outcome = Outcome(heard, failed)
        self._reflectors[what] = Reflector(resource, store, transport, outcome, reachability=self._reachability)
