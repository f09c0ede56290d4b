"""The demo from start to end."""

import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

from webhook.demo import story
from webhook.demo.server import running


def lines(program: str) -> Iterator[str]:
    """Run the demo, yielding line by line what it has to tell; changed lines are coloured.

    `program` is the command as it was called. Raises `DemoError` where the server fails.
    """
    yield story.INTRODUCTION
    with tempfile.TemporaryDirectory(prefix="tokenguard-demo-") as folder, running(Path(folder)) as (server, arguments):
        yield f"\n$ {program} {shlex.join(arguments)}\n"
        yield from story.policy()
        yield from story.Story(server).tell()
    yield f"\nThe server is stopped. Next: judge your own manifests, without a server:\n\n$ {program} check FOLDER"
