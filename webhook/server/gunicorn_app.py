"""gunicorn as the supervisor of the one worker: its settings, none of them from files or the environment."""

import gc
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from webhook.server.logs import GunicornLogger
from webhook.server.worker import IGNORED_SIGNALS, Application, Worker

BACKLOG = 1024
GRACEFUL_TIMEOUT = 25
"""Seconds; the pod's terminationGracePeriodSeconds is more."""
HANG_TIMEOUT = 30
"""Seconds after which a worker that reports nothing is killed."""


class GunicornApp(BaseApplication):
    """gunicorn's master."""

    def __init__(self, listener: socket.socket, folder: Path, load: Callable[[], Application]) -> None:
        """`folder` is private to the server; `load` creates the application, in the master."""
        self._listener = listener.detach()  # gunicorn closes it when it stops; a copy here would keep it open
        self._folder = folder
        self._load = load
        super().__init__()

    def load_config(self) -> None:
        """Set what differs from gunicorn's defaults; called by gunicorn."""
        settings: dict[str, Any] = {
            "bind": f"fd://{self._listener}",
            "workers": 1,
            "worker_class": Worker,
            "worker_tmp_dir": str(self._folder),
            "preload_app": True,
            "timeout": HANG_TIMEOUT,
            "graceful_timeout": GRACEFUL_TIMEOUT,
            "backlog": BACKLOG,
            "logger_class": GunicornLogger,
            "control_socket_disable": True,
            "proc_name": "tokenguard",
            "when_ready": lambda _server: [signal.signal(number, signal.SIG_IGN) for number in IGNORED_SIGNALS],
        }
        for name, value in settings.items():
            if name in self.cfg.settings:  # the control socket came with gunicorn 25.1
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Create the application once, in the master; the workers inherit it, with all loaded modules."""
        application = self._load()
        self.cfg.set("child_exit", lambda _server, _worker: application.worker_exited())
        gc.collect()
        gc.freeze()  # all of this stays: do not search it again, nor copy its pages into the worker
        return application
