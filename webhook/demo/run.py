"""The demo from start to end."""

import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

from webhook.demo import story
from webhook.demo.server import running


def lines() -> Iterator[str]:
    """Run the demo, yielding line by line what it has to tell. Raises `DemoError` where the server fails."""
    yield story.INTRODUCTION
    with tempfile.TemporaryDirectory(prefix="tokenguard-demo-") as folder, running(Path(folder)) as (server, arguments):
        yield f"\n$ tokenguard {shlex.join(arguments)}"
        yield from story.tell(server)
    yield "\nThe server is stopped. Next: put your own manifests through it with 'tokenguard check FOLDER'."
