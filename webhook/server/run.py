"""`tokenguard serve`: putting the parts together, and gunicorn's settings."""

import contextlib
import datetime as dt
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from webhook.core.cluster import Cluster
from webhook.core.manifests import cluster_of, read_manifests
from webhook.core.policy.document import default_policy, read_policy
from webhook.core.policy.model import Policy
from webhook.server.follow import Followed, Follower
from webhook.server.options import ServeOptions, StartError
from webhook.server.state import State, own_audiences
from webhook.server.tls import ServedPair, self_signed

log = logging.getLogger("tokenguard")
_BACKLOG = 1024


def run(options: ServeOptions) -> None:
    """Serve until told to stop, then exit the process with status 0. Raises `StartError` where it can't start."""
    _log_to_stderr()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until gunicorn has its own handlers
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_private_folder())
        metrics_folder = folder / "metrics"
        metrics_folder.mkdir()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_folder)
        pair, certificate = _certificate(options, folder)
        listener = stack.enter_context(_listen(options.bind))
        _Gunicorn(options, listener, pair, [certificate], folder).run()


class _Gunicorn(BaseApplication):
    """gunicorn, told all by this program and nothing by files or the environment."""

    def __init__(
        self, options: ServeOptions, listener: socket.socket, pair: ServedPair, followed: list[Followed], folder: Path
    ) -> None:
        self._options = options
        self._serving_on = _shown(*listener.getsockname()[:2])
        self._listener = listener.detach()  # gunicorn closes it when it stops; a copy here would keep it open
        self._pair = pair
        self._followed = followed
        self._folder = folder
        super().__init__()

    def load_config(self) -> None:
        from webhook.server.metrics import worker_died  # noqa: PLC0415 - after PROMETHEUS_MULTIPROC_DIR is set
        from webhook.server.worker import Worker  # noqa: PLC0415 - only here

        context = self._pair.context
        settings: dict[str, Any] = {
            "bind": f"fd://{self._listener}",
            "workers": self._options.workers,
            "worker_class": Worker,
            "worker_tmp_dir": str(self._folder),
            "http_parser": "auto",
            "preload_app": True,
            "keepalive": 95,
            "timeout": 30,
            "graceful_timeout": 25,
            "backlog": _BACKLOG,
            "asgi_disconnect_grace_period": 0,  # else every connection that ends is kept, buffers and all, for seconds
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "tokenguard",
            "certfile": str(self._followed[0].paths[0]),
            "ssl_context": lambda _config, _default: context,
            "child_exit": lambda _server, worker: worker_died(worker.pid),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Build the application once, in the master; the workers inherit it, loaded policy and all."""
        audit, application = _application(self._options, self._followed, self._folder)
        self.cfg.set("post_worker_init", lambda worker: worker.loop.add_signal_handler(signal.SIGUSR1, audit.reopen))
        log.info("serving on https://%s with %d worker(s)", self._serving_on, self._options.workers)
        gc.collect()
        gc.freeze()  # what is loaded now stays: neither search it again nor copy its pages into every worker
        return application


def _application(options: ServeOptions, followed: list[Followed], folder: Path) -> tuple[Any, Any]:
    """Return the audit log and the ASGI callable."""
    from webhook.server.app import create_app  # noqa: PLC0415 - after PROMETHEUS_MULTIPROC_DIR is set
    from webhook.server.asgi import Application  # noqa: PLC0415 - as above
    from webhook.server.audit import AuditLog  # noqa: PLC0415 - as above
    from webhook.server.metrics import Metrics  # noqa: PLC0415 - as above
    from webhook.server.review import Reviewer  # noqa: PLC0415 - as above

    state, metrics = State(), Metrics()
    try:
        audit = AuditLog(options.audit_log, folder / "audit.lock", metrics.audit_failures.inc)
    except OSError as error:
        raise StartError(f"--audit-log {options.audit_log}: {error.strerror}") from error
    followed = [*followed, *_judged_by(options, state, metrics.policy_read, folder)]
    follower = Follower(followed)
    follower.look()
    reviewer = Reviewer(state, audit, metrics, audit_all=options.audit_level == "all")
    pages = create_app(state, reviewer, metrics, options.max_body_bytes)
    return audit, Application(reviewer, pages, follower, options.max_body_bytes)


def _judged_by(options: ServeOptions, state: State, policy_read: Any, folder: Path) -> Iterator[Followed]:
    """Put in force what needs no file, and yield the files that are to be followed."""
    audiences = own_audiences()
    base = Cluster(api_audiences=audiences) if audiences else Cluster()

    def use_policy(data: bytes) -> tuple[str, ...]:
        policy = read_policy(data)
        if not isinstance(policy, Policy):
            return tuple(str(mistake) for mistake in policy)
        state.use_policy(policy)
        return ()

    def use_objects(data: bytes) -> tuple[str, ...]:
        reading = read_manifests(data)
        if reading.problems:
            return tuple(str(problem) for problem in reading.problems)
        state.use_cluster(cluster_of(reading.manifests, base))
        return ()

    if options.policy:
        yield Followed(
            "policy", (options.policy,), use_policy, lambda why: state.lacks("policy", why), policy_read,
            told=folder / "policy.told", kept=folder / "policy.kept",
        )  # fmt: skip
    else:
        log.warning("no --policy: the default policy is in force, and nothing is injected")
        state.use_policy(default_policy())
    if options.objects:
        yield Followed(
            "objects", (options.objects,), use_objects, lambda why: state.lacks("objects", why),
            told=folder / "objects.told",
        )  # fmt: skip
    else:
        log.warning("no --objects: no Secret is known to hold a legacy token, so none is found")
        state.use_cluster(base)


def _certificate(options: ServeOptions, folder: Path) -> tuple[ServedPair, Followed]:
    """Load the certificate that is served, and return it together with the files it comes from."""
    pair = ServedPair(folder)
    paths = (options.tls_cert, options.tls_key)
    if options.tls_self_signed:
        paths = _made(options, folder)
    why_not: list[str] = []
    certificate = Followed(
        "certificate", tuple(path for path in paths if path), pair.use, why_not.append, told=folder / "certificate.told"
    )
    certificate.look()
    if why_not:
        raise StartError(why_not[0])
    return pair, certificate


def _made(options: ServeOptions, folder: Path) -> tuple[Path, Path]:
    try:
        made = self_signed(options.tls_san, dt.datetime.now(dt.UTC))
    except ValueError as error:
        raise StartError(f"--tls-san: {error}") from error
    files = {"tls.crt": made.certificate, "tls.key": made.key, "ca.crt": made.authority}
    for name, content in files.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)
    log.info("made a certificate for this run; clients trust it by its CA: curl --cacert %s", folder / "ca.crt")
    return folder / "tls.crt", folder / "tls.key"


def _listen(bind: str) -> socket.socket:
    host, colon, port = bind.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise StartError(f"--bind {bind}: write HOST:PORT, as 0.0.0.0:8443 or [::]:8443")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, int(port)), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise StartError(f"--bind {bind}: {error.strerror or error}") from error


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """Give a folder that only this user can read, in memory where that can be; the process that made it removes it."""
    in_memory = "/dev/shm"  # noqa: S108 - mkdtemp makes a folder of a new name in it, for this user alone
    where = in_memory if "TMPDIR" not in os.environ and os.access(in_memory, os.W_OK) else None
    try:
        folder = Path(tempfile.mkdtemp(prefix="tokenguard-", dir=where))
    except OSError as error:
        raise StartError(f"no folder for temporary files: {error.strerror}") from error
    owner = os.getpid()
    try:
        yield folder
    finally:
        if os.getpid() == owner:  # a worker is a fork, and ends here too
            shutil.rmtree(folder, ignore_errors=True)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
