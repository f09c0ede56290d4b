"""The commands: the one place where parts are put together. `main.py` calls them, one module a command or group."""

from webhook.cli.main import main

__all__ = ["main"]
