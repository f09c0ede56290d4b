"""The certificate in a Secret, served by this replica.

The certificate is written to a file that the server watches as it watches a user's files. The file outlives a worker:
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


class CertificateManager:
    """Serves what the Secret contains; with `manage`, also renews it and sets the caBundles."""

    def __init__(  # noqa: PLR0913 - where to write, and options
        self,
        folder: Path,
        serving: Callable[[], str],
        *,
        kubeconfig: Path | None,
        secret: str,
        names: Collection[str],
        manage: bool,
    ) -> None:
        """Write chain and key in the Secret `namespace/name` to `file`, below `folder`, which is private to the server.

        `serving` returns the fingerprint of what the server serves. `names` are those of a certificate that is issued.
        `kubeconfig` is None in a cluster. Starts nothing, so it may be created before a fork.
        """
        self._spec = CertificateSpec(TlsSecret(secret), names, manage)
        self.where = str(self._spec.secret)
        self.file = folder / "certificate.pem"
        self._serving = serving
        self._client = ApiClient(kubeconfig, folder)
        served = ServedCertificate(self._serve, self._read_pair, serving)
        self._reconciler = Reconciler(self._client, self._spec, served, Clock(self._client.now))
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._reflectors: list[Reflector[ApiObject]] = []
        self._pair = b""

    def start(self) -> None:
        """Start, in a worker; return when the server serves the Secret's certificate or the first try has failed."""
        threading.Thread(target=self._run, name="tokenguard-certificates", daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT
        while not (self._is_served() or self._reconciler.is_failing) and time.monotonic() < deadline:
            if self._stopping.wait(_POLL_INTERVAL):
                return

    def stop(self) -> None:
        """Stop; a thread that is in a request ends with the process."""
        self._stopping.set()
        self._wake.set()
        for reflector in self._reflectors:
            reflector.stop()

    def _serve(self, pair: bytes) -> None:
        """Have the server serve this pair; the file is not written again if a predecessor has written it."""
        if pair != self._read_pair():
            replace_file(self.file, [pair])
        self._pair = pair

    def _read_pair(self) -> bytes:
        return self.file.read_bytes() if self.file.exists() else b""

    def _is_served(self) -> bool:
        """Return whether the server serves what the Secret contains."""
        certificates = parse_certificates(self._pair)
        return bool(certificates) and certificates[0].fingerprint == self._serving()

    def _run(self) -> None:
        self._watch()
        while not self._stopping.is_set():
            self._wake.clear()  # before the reconciliation: a change meanwhile causes another one
            delay = self._reconcile()
            # Something that changes all the time does not cause a reconciliation all the time.
            self._stopping.wait(min(delay, SOON))
            self._wake.wait(max(0.0, delay - SOON))

    def _reconcile(self) -> float:
        """Reconcile, and return the seconds until the next time."""
        try:
            return self._reconciler.reconcile()
        except Exception as error:  # noqa: BLE001 - a bug must not end the renewals; its message may quote a key
            where = "".join(traceback.format_tb(error.__traceback__))
            reason = error.strerror if isinstance(error, OSError) else "an internal error"
            log.error("%s: cannot reconcile: %s: %s\n%s", self.where, type(error).__name__, reason, where)  # noqa: TRY400
            return AFTER_FAILURE

    def _watch(self) -> None:
        """Wake up on every change of the Secret and, if it is managed, of the configurations."""
        configurations = ca_bundle.resources() if self._spec.manage else ()
        reachability = Reachability()
        for resource in (self._spec.secret.resource, *configurations):
            ignored = SyncCallbacks(lambda: None, lambda _reason: None)  # the reconciler reports what it finds
            reflector = Reflector(resource, _Waker(self._wake), self._client, ignored, reachability=reachability)
            self._reflectors.append(reflector)
            threading.Thread(target=reflector.run, name=f"tokenguard-{resource.name}", daemon=True).start()


class _Waker:
    """A store that keeps nothing: it only signals that something has changed."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def replace(self, objects: Iterable[ApiObject]) -> None:
        for _ in objects:
            pass
        self._wake.set()

    def apply(self, _changes: Sequence[ObjectChange[ApiObject]]) -> None:
        self._wake.set()
