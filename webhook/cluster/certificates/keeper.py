"""The certificate in a Secret, served by all workers of this process.

One worker speaks to the API server for all: the one that holds a lock, which another gets as soon as it is gone. It
writes the certificate to a file that all of them follow, as they follow a user's files. Each worker notes which
certificate it serves, because a rotation waits for the last of them.
"""

import fcntl
import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from webhook.cluster.backoff import Reachability
from webhook.cluster.certificates import bundles
from webhook.cluster.certificates.notes import Notes
from webhook.cluster.certificates.reconcile import AFTER_FAILURE, SOON, Clock, Reconciler, Wanted, Workers
from webhook.cluster.certificates.secret import TlsSecret
from webhook.cluster.connection import Connection
from webhook.cluster.objects import Object
from webhook.cluster.reflector import Change, Outcome, Reflector
from webhook.files import replace_file
from webhook.pki.read import certificates

log = logging.getLogger("tokenguard.certificates")
PATIENCE = 15.0
"""How long a worker that starts waits for its certificate, in seconds: well below gunicorn's patience with a worker."""
_BLINK = 0.02
TICK = 0.5
"""Seconds; what a worker serves is looked at as often."""


class CertificateKeeper:
    """Serves what the Secret holds and, where it `manage`s them, keeps Secret and trust as they must be."""

    def __init__(self, kubeconfig: Path | None, secret: str, names: Collection[str], *, manage: bool) -> None:
        """Take where the API server is (None: this cluster's), the Secret's `namespace/name`, and the names that a
        certificate must be for.
        """  # noqa: D205 - one thought
        self._kubeconfig = kubeconfig
        self._wanted = Wanted(TlsSecret(secret), names, manage)
        self.where = str(self._wanted)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._reflectors: list[Reflector[Object]] = []
        self._leads = False

    def attach(self, folder: Path, serving: Callable[[], str]) -> Path:
        """Return the file that the certificate is written to, chain and key; starts nothing, so it may be forked.

        `folder` is private to the server, `serving` tells the fingerprint of what this worker serves.
        """
        self._file = folder / "certificate.pem"
        self._known = folder / "certificate.known"
        self._failing = folder / "certificate.failing"
        self._serving = serving
        self._lock_file = folder / "certificates.lock"
        self._notes = Notes(folder / "serving", serving)
        self._connection = Connection(self._kubeconfig, folder)
        workers = Workers(self._serve, self._written, self._notes.read)
        self._reconciler = Reconciler(self._connection, self._wanted, workers, Clock(self._connection.now))
        return self._file

    def start(self) -> None:
        """Begin, in a worker; return when it serves the Secret's certificate, or when there is none to be had soon."""
        self._thread = threading.Thread(target=self._run, name="tokenguard-certificates", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + PATIENCE
        while not (self._is_served() or self._failing.exists()) and time.monotonic() < deadline:
            if self._stopping.wait(_BLINK):
                return

    def stop(self) -> None:
        """End; the worker that has spoken for all takes leave."""
        self._stopping.set()
        self._wake.set()
        if self._thread:
            self._thread.join(AFTER_FAILURE if self._reconciler.is_known else TICK)
        for reflector in self._reflectors:  # at the end: the thread may have been about to start them
            reflector.stop()

    def served(self) -> Collection[str]:
        """Return the fingerprints of what all workers serve."""
        return self._notes.read()

    def _serve(self, pair: bytes) -> None:
        replace_file(self._file, [pair])
        self._known.touch()

    def _written(self) -> bytes:
        return self._file.read_bytes() if self._known.exists() else b""

    def _is_served(self) -> bool:
        """Say whether this worker serves what the Secret holds: until that is known, something else is in the file."""
        found = certificates(self._written())
        return bool(found) and found[0].fingerprint == self._serving()

    def _run(self) -> None:
        with self._lock_file.open("a") as lock:
            earliest = due = 0.0
            while not self._stopping.is_set():
                try:
                    self._notes.write()
                    now = time.monotonic()
                    if self._has_lock(lock.fileno()) and (now >= due or (self._wake.is_set() and now >= earliest)):
                        self._wake.clear()  # before the look: what changes meanwhile is looked at again
                        delay = self._look()
                        due = time.monotonic() + delay
                        # Whoever changes things without end is not followed.
                        earliest = time.monotonic() + min(delay, SOON)
                except Exception as error:  # noqa: BLE001 - a bug must not end the renewals; its text may quote a key
                    self._report(error)
                    earliest = due = time.monotonic() + AFTER_FAILURE
                self._pause(due, earliest)
            if self._leads:
                self._reconciler.end()

    def _look(self) -> float:
        """Do what is due, and have all workers know whether that has failed: then there is nothing to wait for."""
        delay = self._reconciler.reconcile()
        if self._reconciler.failing:
            self._failing.touch()
        else:
            self._failing.unlink(missing_ok=True)
        return delay

    def _pause(self, due: float, earliest: float) -> None:
        """Wait until there may be something to do."""
        now = time.monotonic()
        if self._leads and self._wake.is_set():
            self._stopping.wait(min(TICK, max(0.0, earliest - now)))
        else:
            self._wake.wait(min(TICK, max(0.0, due - now)) if self._leads else TICK)

    def _has_lock(self, lock: int) -> bool:
        if not self._leads:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._leads = True
            self._follow()
        return True

    def _follow(self) -> None:
        """Be woken by every change."""
        configurations = bundles.resources() if self._wanted.manage else ()
        reachability = Reachability()
        for resource in (self._wanted.secret.resource, *configurations):
            nothing = Outcome(lambda: None, lambda _why: None)  # what a look finds is told by the look
            reflector = Reflector(resource, _Waker(self._wake), self._connection, nothing, reachability=reachability)
            self._reflectors.append(reflector)
            threading.Thread(target=reflector.run, name=f"tokenguard-{resource.what}", daemon=True).start()

    def _report(self, error: Exception) -> None:
        where = "".join(traceback.format_tb(error.__traceback__))
        told = error.strerror if isinstance(error, OSError) else "an internal error"
        log.error("%s can't be looked after: %s: %s\n%s", self.where, type(error).__name__, told, where)


class _Waker:
    """A store for a reflector that keeps nothing: it is enough that something has changed."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def replace(self, objects: Iterable[Object]) -> None:
        for _ in objects:
            pass
        self._wake.set()

    def apply(self, _changes: Sequence[Change[Object]]) -> None:
        self._wake.set()
