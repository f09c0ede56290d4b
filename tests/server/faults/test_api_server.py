"""An API server that fails in every way it can: reviews are evaluated with the last state until it is back."""

import http.server
import json
import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.cluster.fake import error, event, meta, page
from tests.cluster.http_api import ApiRequestHandler
from tests.control_plane.live import NAMESPACE, WHERE, is_allowed, is_denied
from tests.kubeconfigs import write_kubeconfig
from tests.server.faults.load import load
from tests.serving import eventually, serve

POLICY = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
SHORTENED = """
from webhook.cluster import api_client, backoff
backoff.FIRST_DELAY = backoff.MAX_DELAY = 0.2
api_client.WATCH_TIMEOUT = 1.0
api_client.ApiClient.__init__.__defaults__ = (1.0, None)
from webhook.cli import main
main()
"""
"""The command with 0.2 seconds in place of up to 15 between tries, and one in place of 150 for a silent watch."""
OUTAGE = 14.0
"""Seconds; waits that double have grown to 8 by then."""
CONFIG_MAP = {"metadata": meta("token-policy", NAMESPACE), "data": {"policy.yaml": POLICY}}


class Fickle(http.server.ThreadingHTTPServer):
    """Knows Secrets, which a test may change, and a way to go wrong.

    It remembers no more than its last `version`: a watch from another has to list again, as after a long outage.
    """

    daemon_threads = True
    date = ""
    secrets: tuple[str, ...] = ("old",)
    version = 10
    wrong = ""
    request_count = 0

    def forget(self, *secrets: str) -> None:
        """Have these Secrets from now on, and know nothing of what was before."""
        self.secrets = secrets
        self.version += 1


class FickleAnswers(ApiRequestHandler):
    """List and watch, as far as tokenguard asks."""

    server: Fickle

    def do_GET(self) -> None:  # noqa: N802 - as http.server names it
        wrong = self.server.wrong
        query = parse_qs(urlsplit(self.path).query)
        watches = "watch" in query
        if wrong:
            self.server.request_count += 1
        if wrong.isdecimal():
            self._say(int(wrong), {"message": f"it is {wrong}"})
        elif wrong == "garbage":
            self._say(200, b"<html>\x00\xff]{")
        elif wrong and watches and wrong != "away":
            self._begin()
            self._go_wrong(wrong)
        elif wrong == "away":
            self.close_connection = True
        elif watches and query["resourceVersion"] != [str(self.server.version)]:
            self._say(410, {"message": "too old"})
        elif watches:
            self._begin()
            version = self.server.version
            while not self.server.wrong and version == self.server.version and not self.server.over.wait(0.05):
                pass
            self.close_connection = True
        else:
            self._say(200, self._list())

    def _list(self) -> bytes:
        version = str(self.server.version)
        if "/configmaps" in self.path:
            return json.dumps({"metadata": {"resourceVersion": version}, "items": [CONFIG_MAP]}).encode()
        if "/secrets" in self.path:
            return page(*(meta(name, "demo") for name in self.server.secrets), version=version)
        return page(meta("demo", ""), version=version)

    def _go_wrong(self, wrong: str) -> None:
        chunk = event("ADDED", meta("half", "demo", version="11"))
        if wrong == "half a line":
            self._chunk(chunk[: len(chunk) // 2])
        elif wrong == "410 in a watch":
            self._chunk(error(410))
        elif wrong == "silence":
            while self.server.wrong and not self.server.over.wait(0.05):
                pass
        self.close_connection = True

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


@pytest.fixture(scope="module")
def api():
    with Fickle(("127.0.0.1", 0), FickleAnswers) as fickle:
        fickle.over = threading.Event()
        thread = threading.Thread(target=fickle.serve_forever, args=(0.02,))
        thread.start()
        yield fickle
        fickle.over.set()
        fickle.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(api, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fickle")
    write_kubeconfig(folder / "kubeconfig", api.server_port, {"token": "t"})
    flags = ["--kubeconfig", str(folder / "kubeconfig"), "--policy-configmap", WHERE]
    with serve(folder / "run", *flags, module=("-c", SHORTENED)) as running:
        yield running


WRONG = ["away", "500", "503", "429", "401", "410", "garbage", "half a line", "410 in a watch", "silence"]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.covers("failure-modes: API server misbehaves")
def test_api_server_failure_leaves_the_last_state_in_use(api, server, wrong):
    workers = server.workers
    made_meanwhile = f"made-during-{wrong.replace(' ', '-')}"
    eventually(lambda: is_denied(server, "demo", "old"))
    assert is_allowed(server, "demo", made_meanwhile)
    before = api.request_count
    api.wrong = wrong
    try:
        with load(server, 2) as running:
            eventually(
                lambda: api.request_count >= before + 12
            )  # by six threads, so each has met with it and tried again
            running.go_on()
            assert server.request("GET", "/readyz").status == 200
            assert is_denied(server, "demo", "old")
            assert is_allowed(server, "demo", "half"), "a line that was cut off says nothing"
    finally:
        api.forget("old", made_meanwhile)
        api.wrong = ""
    eventually(lambda: is_denied(server, "demo", made_meanwhile))
    assert running.failures == []
    assert server.workers == workers


@pytest.mark.covers("failure-modes: API server unreachable")
def test_state_is_current_soon_after_an_outage_of_any_length(api, tmp_path):
    write_kubeconfig(tmp_path / "kubeconfig", api.server_port, {"token": "t"})
    flags = ["--kubeconfig", str(tmp_path / "kubeconfig"), "--policy-configmap", WHERE]
    with serve(tmp_path / "run", *flags) as server:
        api.wrong = "away"
        api.forget("old")  # ends the watches
        began = time.monotonic()
        time.sleep(OUTAGE)
        api.forget("old", "made-in-the-outage")
        api.wrong = ""
        back = time.monotonic()
        eventually(lambda: is_denied(server, "demo", "made-in-the-outage"))
        assert time.monotonic() - back < (back - began) / 5
