"""`tokenguard serve`: putting the parts together."""

import contextlib
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from webhook.core.cluster_state import FALLBACK_API_AUDIENCES, ClusterState
from webhook.core.formatting import failure_text
from webhook.server.audit_log.logger import AuditLog, open_sinks
from webhook.server.audit_log.sink import Sink, failure_reason
from webhook.server.background import BackgroundGroup, CertificateSource
from webhook.server.config_files import OwnTokenAudiences, config_checks
from webhook.server.endpoints import create_app
from webhook.server.file_watcher import FileWatcher, WatchedFiles
from webhook.server.gunicorn_app import BACKLOG, GunicornApp
from webhook.server.logs import configure_logging
from webhook.server.metrics.collector import MetricsCollector
from webhook.server.metrics.recorder import Metrics
from webhook.server.options import ServeOptions, StartError
from webhook.server.process_setup import private_folder, raise_file_limit, require_stdout, return_freed_memory
from webhook.server.review_handler import ReviewHandler
from webhook.server.serving_certificate import load_certificate
from webhook.server.state import State
from webhook.server.worker import STOP_SIGNALS, Application

log = logging.getLogger("tokenguard")


def run(options: ServeOptions) -> None:
    """Serve until a signal to stop, then exit with status 0. Raises `StartError` if the server cannot start."""
    if options.audit_log == "-":
        require_stdout()
    raise_file_limit()
    return_freed_memory()
    configure_logging(options.log_format, options.log_level)
    for number in STOP_SIGNALS:  # until gunicorn has its own handlers
        signal.signal(number, lambda *_: sys.exit(0))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(private_folder())
        sinks = open_sinks(options)
        state = State(partial(failure_reason, sinks)) if options.audit_failure == "deny" else State()
        metrics = Metrics(state)
        source = options.certificates(folder, lambda: state.fingerprint) if options.certificates else None
        certificate, files = load_certificate(options, source, state, folder, metrics.count_reload)
        listener = stack.enter_context(_listen(*options.bind))
        address = _format_address(*listener.getsockname()[:2])

        def load() -> Application:
            application = _application(options, sinks, state, certificate.context, files, metrics, source, folder)
            log.info("serving on https://%s", address)
            return application

        GunicornApp(listener, folder, load).run()


def _application(  # noqa: PLR0913, PLR0917 - the parts that are put together
    options: ServeOptions,
    sinks: Sequence[Sink],
    state: State,
    tls: ssl.SSLContext,
    files: list[WatchedFiles],
    metrics: Metrics,
    certificates: CertificateSource | None,
    folder: Path,
) -> Application:
    audit = AuditLog(
        sinks,
        metrics,
        level=options.audit_level,
        sample=options.audit_sample,
        fail_closed=options.audit_failure == "deny",
    )
    audiences = OwnTokenAudiences(state)
    base = ClusterState(api_audiences=audiences.names or FALLBACK_API_AUDIENCES, own_namespace=options.own_namespace)
    live = options.live(state, base, partial(metrics.count_reload, "policy"), folder) if options.live else None
    checks = [*((file.name, file.check) for file in files), ("token", audiences.check)]
    checks += config_checks(options, state, base, folder, metrics.count_reload)
    watcher = FileWatcher([*checks, ("the audit log", audit.check)])
    watcher.check()
    handler = ReviewHandler(
        state, audit, metrics, max_body_bytes=options.max_body_bytes,
        create_event=live.record_event if live and options.pod_events else None,
        requires_client_certificate=options.client_ca is not None,
        allows_unpatched_pods=options.unpatched_pods == "allow",
        own_namespace=options.own_namespace, probe_namespace=options.probe_namespace,
    )  # fmt: skip
    probe = options.probe and options.probe(
        lambda: state.snapshot, metrics.count_probe, folder
    )  # fmt: skip
    backstop = options.backstop and options.backstop(lambda: state.snapshot, state.set_backstop_in_sync, folder)
    parts = (certificates, watcher, live, probe, backstop)

    def load_state() -> None:
        watcher.check()
        if live:
            live.restore()

    return Application(
        handler=handler,
        flask=create_app(state, handler, MetricsCollector(metrics, state, scan_status=options.scan_status)),
        tls=tls,
        background=BackgroundGroup([part for part in parts if part]),
        load_state=load_state,
        reopen_logs=audit.reopen,
        worker_exited=audit.worker_exited,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise StartError(f"--bind {_format_address(host, port)}: {failure_text(error)}") from error


def _format_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
