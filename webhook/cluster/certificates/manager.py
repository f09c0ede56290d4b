"""The certificate in a Secret, served by this replica.

The certificate is written to a file that the server follows as it follows a user's files. The file outlives a worker:
its successor serves the same certificate, even if the API server is unavailable or the Secret is lost.
"""

import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from webhook.atomic_write import replace_file
from webhook.cluster.api_client import ApiClient
from webhook.cluster.api_types import ApiObject
from webhook.cluster.backoff import Reachability
from webhook.cluster.certificates import ca_bundle
from webhook.cluster.certificates.reconciler import (
    AFTER_FAILURE,
    SOON,
    CertificateSpec,
    Clock,
    Reconciler,
    ServedCertificate,
)
from webhook.cluster.certificates.tls_secret import TlsSecret
from webhook.cluster.reflector import ObjectChange, Reflector, SyncCallbacks
from webhook.pki.certificate import parse_certificates

log = logging.getLogger("tokenguard.certificates")
START_TIMEOUT = 15.0
"""How long a worker that starts waits for its certificate, in seconds: well below gunicorn's timeout for a worker."""
_POLL_INTERVAL = 0.02
STOP_TIMEOUT = 0.5


class CertificateManager:
    """Serves what the Secret contains and, with `manage`, keeps Secret and trust as they must be."""

    def __init__(self, kubeconfig: Path | None, secret: str, names: Collection[str], *, manage: bool) -> None:
        """Take the parts.

        `kubeconfig` is None for the cluster that this runs in, `secret` is `namespace/name`, and a certificate must be
        for `names`.
        """
        self._kubeconfig = kubeconfig
        self._wanted = CertificateSpec(TlsSecret(secret), names, manage)
        self.where = str(self._wanted)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._reflectors: list[Reflector[ApiObject]] = []
        self._pair = b""

    def attach(self, folder: Path, serving: Callable[[], str]) -> Path:
        """Return the file that the certificate is written to, chain and key; starts nothing, so it may be forked.

        `folder` is private to the server, `serving` returns the fingerprint of what it serves.
        """
        self._file = folder / "certificate.pem"
        self._serving = serving
        self._connection = ApiClient(self._kubeconfig, folder)
        served = ServedCertificate(self._serve, self._read_pair, serving)
        self._reconciler = Reconciler(self._connection, self._wanted, served, Clock(self._connection.now))
        return self._file

    def start(self) -> None:
        """Begin, in a worker; return when it serves the Secret's certificate, or when that is not to be had soon."""
        self._thread = threading.Thread(target=self._run, name="tokenguard-certificates", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + START_TIMEOUT
        while not (self._is_served() or self._reconciler.failing) and time.monotonic() < deadline:
            if self._stopping.wait(_POLL_INTERVAL):
                return

    def stop(self) -> None:
        """End, and have other replicas no longer wait for this one."""
        self._stopping.set()
        self._wake.set()
        if self._thread:
            self._thread.join(AFTER_FAILURE if self._reconciler.is_known else STOP_TIMEOUT)
        for reflector in self._reflectors:  # at the end: the thread may have been about to start them
            reflector.stop()

    def _serve(self, pair: bytes) -> None:
        """Have the server serve this pair: what a predecessor has written is not written again."""
        if pair != self._read_pair():
            replace_file(self._file, [pair])
        self._pair = pair

    def _read_pair(self) -> bytes:
        return self._file.read_bytes() if self._file.exists() else b""

    def _is_served(self) -> bool:
        """Say whether the server serves what the Secret contains."""
        found = parse_certificates(self._pair)
        return bool(found) and found[0].fingerprint == self._serving()

    def _run(self) -> None:
        self._watch()
        while not self._stopping.is_set():
            self._wake.clear()  # before the look: what changes meanwhile is looked at again
            delay = self._reconcile()
            # Something that changes all the time is not looked at all the time.
            self._stopping.wait(min(delay, SOON))
            self._wake.wait(max(0.0, delay - SOON))
        self._reconciler.end()

    def _reconcile(self) -> float:
        """Do what is due, and return in how many seconds to look again."""
        try:
            return self._reconciler.reconcile()
        except Exception as error:  # noqa: BLE001 - a bug must not end the renewals; its text may quote a key
            where = "".join(traceback.format_tb(error.__traceback__))
            reason = error.strerror if isinstance(error, OSError) else "an internal error"
            log.error("%s can't be looked after: %s: %s\n%s", self.where, type(error).__name__, reason, where)  # noqa: TRY400
            return AFTER_FAILURE

    def _watch(self) -> None:
        """Be woken by every change."""
        configurations = ca_bundle.resources() if self._wanted.manage else ()
        reachability = Reachability()
        for resource in (self._wanted.secret.resource, *configurations):
            ignored = SyncCallbacks(lambda: None, lambda _why: None)  # the reconciler reports what it finds
            reflector = Reflector(resource, _Waker(self._wake), self._connection, ignored, reachability=reachability)
            self._reflectors.append(reflector)
            threading.Thread(target=reflector.run, name=f"tokenguard-{resource.name}", daemon=True).start()


class _Waker:
    """A store for a reflector that contains nothing: it is enough that something has changed."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def replace(self, objects: Iterable[ApiObject]) -> None:
        for _ in objects:
            pass
        self._wake.set()

    def apply(self, _changes: Sequence[ObjectChange[ApiObject]]) -> None:
        self._wake.set()
