"""`tokenguard`, `kubectl tokenguard` and `python -m webhook`: starts the command line."""

import _signal  # type: ignore[import-not-found]  # the built-in part of signal, which is there at once


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback even while modules are imported."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:  # not ignored, as in the background of a shell
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from webhook.cli import main as command  # noqa: PLC0415 - takes long

    command(**({"prog_name": "tokenguard"} if __name__ == "__main__" else {}))


if __name__ == "__main__":
    main()
