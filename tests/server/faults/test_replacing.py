"""Policies and certificates that are replaced again and again while reviews are sent without a pause."""

import contextlib
import datetime as dt
import hashlib
import threading
from collections import Counter

import pytest

from tests.server.faults.load import BODY, load, revision_of
from tests.server.replica import Replica
from tests.serving import eventually, patch_of, raw_connection, serve
from webhook.core.admission_request import Phase
from webhook.core.policy.loader import read_policy
from webhook.pki.issue import create_self_signed

COUNT = 1000
POLICY = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
tokens: {{maxExpirationSeconds: {0}}}
inject:
- {{name: first, audience: "https://first-{0}.example.com", mountPath: /first}}
- {{name: last, audience: "https://last-{0}.example.com", mountPath: /last}}
"""
DOCUMENTS = [POLICY.format(number) for number in range(600, 600 + COUNT)]
NUMBERS = {hashlib.sha256(text.encode()).hexdigest()[:12]: number for number, text in enumerate(DOCUMENTS, 600)}


class SinglePolicyCheck:
    """Checks that an answer is by the policy that it names, in every part; `seen` counts which."""

    def __init__(self):
        self.seen: Counter[int] = Counter()

    def __call__(self, response):
        number = NUMBERS[revision_of(response)]
        self.seen[number] += 1
        patch = str(patch_of(response))
        assert f"first-{number}." in patch
        assert f"last-{number}." in patch
        assert set(expirations(patch_of(response))) == {number}, "the injected tokens, and the API server's own"


def expirations(value):
    """Yield every `expirationSeconds` in a patch."""
    if isinstance(value, dict):
        if str(value.get("path", "")).endswith("/expirationSeconds"):
            yield value["value"]
        for key, inner in value.items():
            if key == "expirationSeconds":
                yield inner
            else:
                yield from expirations(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expirations(inner)


@pytest.mark.covers("failure-modes: policy replaced")
def test_policy_file_replaced_under_load_mixes_no_answers(tmp_path):
    target = tmp_path / "policy.yaml"
    target.write_text(DOCUMENTS[0])
    check = SinglePolicyCheck()
    with (
        serve(tmp_path / "run", "--policy", str(target)) as server,
        load(server, 4, check) as running,
    ):
        for number, document in enumerate(DOCUMENTS):
            (tmp_path / "fresh").write_text(document)
            (tmp_path / "fresh").replace(target)
            if number % 100 == 50:  # long enough for some to be seen, whatever the machine
                eventually(lambda number=number: check.seen[600 + number])
        last = 600 + COUNT - 1
        eventually(lambda: check.seen[last] > 100)
        assert server.metric("tokenguard_policy_reloads_total", result="rejected") == 0
    assert len(check.seen) > 10
    assert running.failures == []


@pytest.mark.covers("failure-modes: policy replaced")
def test_policy_replaced_in_memory_mixes_no_answers():
    policies = [read_policy(document.encode()) for document in DOCUMENTS[:40]]
    replica, check, answered = Replica(DOCUMENTS[0]), SinglePolicyCheck(), threading.Semaphore(0)

    def replace() -> None:
        for number in range(COUNT):
            replica.state.use_policy(policies[number % len(policies)])
            answered.acquire(timeout=1)

    thread = threading.Thread(target=replace)
    thread.start()
    while thread.is_alive():
        check(replica.response(BODY, Phase.MUTATE))
        answered.release()
    assert len(check.seen) >= len(policies) // 4  # in step with each other, the two may meet at a few of them alone


@pytest.mark.covers("failure-modes: certificate rotated")
def test_certificate_rotated_under_load_fails_no_review(policy_flags, tmp_path):
    made = [create_self_signed([f"made-{number}.example.com"], dt.datetime.now(dt.UTC)) for number in range(10)]
    for number in range(100):
        folder = tmp_path / f"..{number}"
        folder.mkdir()
        pair = made[number % len(made)]
        (folder / "tls.crt").write_bytes(pair.certificate)
        (folder / "tls.key").write_bytes(pair.key)
    data = tmp_path / "..data"
    data.symlink_to("..0")
    tls = ["--tls-cert", str(data / "tls.crt"), "--tls-key", str(data / "tls.key")]
    served, over = set(), threading.Event()
    failed = []

    def shake_hands() -> None:
        while not over.is_set():
            try:
                with contextlib.closing(raw_connection(server)) as connection:
                    served.add(connection.getpeercert()["subjectAltName"][-1][1])
            except OSError as error:
                failed.append(str(error))

    with serve(tmp_path / "run", *policy_flags, *tls) as server, load(server, 2) as running:
        server.context.load_verify_locations(cadata="".join(pair.authority.decode() for pair in made))
        thread = threading.Thread(target=shake_hands)
        thread.start()
        try:
            for number in range(100):
                (tmp_path / "fresh").symlink_to(f"..{number}")
                (tmp_path / "fresh").replace(data)
                if number % 20 == 19:
                    eventually(lambda number=number: f"made-{number % 10}.example.com" in served)
                    served.clear()
        finally:
            over.set()
            thread.join()
        assert server.metric("tokenguard_reloads_total", source="certificate", result="rejected") == 0
    assert failed == []
    assert running.failures == []
