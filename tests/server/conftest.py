import asyncio
import datetime as dt
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from tests.serving import OBJECTS, POLICY, serve
from webhook.pki.issue import create_self_signed
from webhook.server.serving_certificate import server_context

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def policy_flags(tmp_path_factory):
    """Return the flags for a policy with one injection, and for objects with two legacy tokens."""
    folder = tmp_path_factory.mktemp("policy")
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "objects.yaml").write_text(OBJECTS)
    return ["--policy", str(folder / "policy.yaml"), "--objects", str(folder / "objects.yaml")]


@pytest.fixture(scope="session")
def server(policy_flags, tmp_path_factory):
    """Return one server for all tests that leave it as it was."""
    with serve(tmp_path_factory.mktemp("server"), *policy_flags, "--audit-level", "all") as running:
        yield running


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> ssl.SSLContext:
    pair = create_self_signed((), dt.datetime.now(dt.UTC))
    file = tmp_path_factory.mktemp("tls") / "pair.pem"
    file.write_bytes(pair.certificate + pair.key)
    context = server_context()
    context.load_cert_chain(file)
    return context


@pytest.fixture(params=LOOPS.values(), ids=LOOPS)
def run(request) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Return what runs a coroutine to its end in an event loop."""

    def in_loop(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(coroutine)

    return in_loop
