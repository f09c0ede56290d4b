"""`tokenguard serve`: putting the parts together, and gunicorn's settings."""

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from webhook.server.audit_log.file_sink import FileSink
from webhook.server.audit_log.logger import AuditLog, open_sink
from webhook.server.audit_log.sink import Sink
from webhook.server.certificate import served_certificate
from webhook.server.follow import Followed, Follower
from webhook.server.judged_by import judged_by
from webhook.server.options import ServeOptions, StartError, host_and_port
from webhook.server.process import private_folder, raise_file_limit, require_stdout
from webhook.server.source import All
from webhook.server.state import State
from webhook.server.tls import ServedPair

log = logging.getLogger("tokenguard")
_BACKLOG = 1024
_MAX_HEAD = {"limit_request_line": 2048, "limit_request_fields": 32, "limit_request_field_size": 4096}
"""The largest head of a request, 130 KiB in all: an API server sends 2 KiB, and each connection may hold one."""


def run(options: ServeOptions) -> None:
    """Serve until told to stop, then exit the process with status 0. Raises `StartError` where it can't start."""
    if options.audit_log == "-":
        require_stdout()
    raise_file_limit()
    _log_to_stderr()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until gunicorn has its own handlers
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(private_folder())
        metrics_folder = folder / "metrics"
        metrics_folder.mkdir()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_folder)
        from webhook.server.metrics import Metrics  # noqa: PLC0415 - after PROMETHEUS_MULTIPROC_DIR is set

        metrics = Metrics()
        state = State()
        pair, files = served_certificate(options, state, metrics.file_read, folder)
        listener = stack.enter_context(_listen(options.bind))
        _Gunicorn(options, listener, state, pair, files, metrics, folder).run()


class _Gunicorn(BaseApplication):
    """gunicorn, told all by this program and nothing by files or the environment."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that are put together
        self,
        options: ServeOptions,
        listener: socket.socket,
        state: State,
        pair: ServedPair,
        files: tuple[Followed, ...],
        metrics: Any,
        folder: Path,
    ) -> None:
        self._options = options
        self._serving_on = _shown(*listener.getsockname()[:2])
        self._listener = listener.detach()  # gunicorn closes it when it stops; a copy here would keep it open
        self._state = state
        self._pair = pair
        self._files = files
        self._metrics = metrics
        self._folder = folder
        super().__init__()

    def load_config(self) -> None:
        from webhook.server.worker import IGNORED_SIGNALS, Worker  # noqa: PLC0415 - only here

        context = self._pair.context
        settings: dict[str, Any] = {
            "bind": f"fd://{self._listener}",
            "workers": self._options.workers,
            "worker_class": Worker,
            "worker_tmp_dir": str(self._folder),
            "http_parser": "auto",
            **_MAX_HEAD,
            "preload_app": True,
            "keepalive": 95,
            "timeout": 30,
            "graceful_timeout": 25,
            "backlog": _BACKLOG,
            "asgi_disconnect_grace_period": 0,  # else every connection that ends is kept, buffers and all, for seconds
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "tokenguard",
            "certfile": str(self._files[0].paths[0]),
            "ssl_context": lambda _config, _default: context,
            "when_ready": lambda _server: [signal.signal(number, signal.SIG_IGN) for number in IGNORED_SIGNALS],
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Build the application once, in the master; the workers inherit it, loaded policy and all."""
        audit, application = _application(self._options, self._state, self._files, self._metrics, self._folder)
        self.cfg.set("post_worker_init", lambda worker: worker.loop.add_signal_handler(signal.SIGUSR1, audit.reopen))

        def buried(_: Any, worker: Any) -> None:
            worker.died()
            self._metrics.worker_died(worker.pid)
            audit.worker_exited()

        self.cfg.set("child_exit", buried)
        self.cfg.set("post_fork", lambda _, worker: self._metrics.count_as(worker.place))
        log.info("serving on https://%s with %d worker(s)", self._serving_on, self._options.workers)
        gc.collect()
        gc.freeze()  # what is loaded now stays: neither search it again nor copy its pages into every worker
        return application


def _application(
    options: ServeOptions, state: State, files: tuple[Followed, ...], metrics: Any, folder: Path
) -> tuple[Any, Any]:
    """Return the audit log and the ASGI callable."""
    from webhook.server.app import create_app  # noqa: PLC0415 - after PROMETHEUS_MULTIPROC_DIR is set
    from webhook.server.asgi import Application  # noqa: PLC0415 - as above
    from webhook.server.review import Reviewer  # noqa: PLC0415 - as above

    audit = AuditLog(
        _audit_sinks(options),
        level=options.audit_level,
        sample=options.audit_sample,
        fail_closed=options.audit_failure == "deny",
        on_write_error=metrics.audit_failures.inc,
        on_sampled_out=metrics.audit_sampled_out.inc,
    )
    state.audit_error = lambda: audit.failure_reason
    follower = Follower([*files, *judged_by(options, state, metrics.file_read, folder)])
    follower.look()
    tell = options.live.tell if options.live and options.pod_events else None
    reviewer = Reviewer(
        state, audit, metrics, max_body_bytes=options.max_body_bytes, tell=tell,
        known_senders_only=options.client_ca is not None,
    )  # fmt: skip
    parts = (options.certificates, follower, options.live, metrics.teller(state), audit)
    background = All(*(part for part in parts if part))
    return audit, Application(reviewer, create_app(state, reviewer, metrics), background)


def _audit_sinks(options: ServeOptions) -> list[Sink]:
    """Open what the audit log is written to. Raises `StartError` if that is not possible."""
    try:
        sinks = [open_sink(options.audit_log)]
    except OSError as error:
        raise StartError(f"--audit-log {options.audit_log}: {error.strerror}") from error
    if options.audit_file is not None:
        size, keep = options.audit_file_max_size, options.audit_file_keep
        try:
            sinks.append(FileSink(options.audit_file, max_bytes=size, keep=keep))
        except OSError as error:
            raise StartError(f"--audit-file {options.audit_file}: {error.strerror}") from error
    return sinks


def _listen(bind: str) -> socket.socket:
    host, port = host_and_port("--bind", bind, "0.0.0.0:8443 or [::]:8443")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise StartError(f"--bind {bind}: {error.strerror or error}") from error


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
