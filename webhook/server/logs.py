"""tokenguard's own log on stderr, as text or as JSON; gunicorn's lines have the same form."""

import datetime as dt
import json
import logging
import sys
from typing import Any

from gunicorn.glogging import Logger

from webhook.core.safe_output import safe_json

LEVELS = ("debug", "info", "warning", "error")
_ROOT = logging.getLogger("tokenguard")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return a line with `time` (RFC 3339), `level`, `logger`, `pid` and `message`."""
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        line = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": message,
        }
        return safe_json(json.dumps(line, ensure_ascii=False))


_TEXT = logging.Formatter("[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s")


def configure_logging(log_format: str, level: str) -> None:
    """Write the log to stderr: `log_format` is text or json, `level` one of `LEVELS`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TEXT)
    _ROOT.handlers = [handler]
    _ROOT.setLevel(level.upper())
    _ROOT.propagate = False


class GunicornLogger(Logger):
    """gunicorn's log as a part of tokenguard's: warnings and errors only."""

    def setup(self, cfg: Any) -> None:
        """Use tokenguard's handlers; called by gunicorn."""
        super().setup(cfg)
        self.error_log.handlers = _ROOT.handlers
        self.error_log.setLevel(max(logging.WARNING, _ROOT.level))
