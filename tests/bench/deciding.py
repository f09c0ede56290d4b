"""What a decision costs by itself, as ratios against a baseline in the same run.

The baseline is what any webhook has to do at least: the standard library's `json` reads the same body and
writes an answer. Each figure is the best of several rounds of CPU time, in microseconds.
"""

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.table import Row
from webhook.core.admission_request import AdmissionRequest, Phase, read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.decision import Decision
from webhook.core.evaluate import evaluate
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.server.admission_response import encode_response
from webhook.server.metrics.recorder import Metrics
from webhook.server.state import State

RECORDED = Path(__file__).parent.parent / "recorded"
BODY = (RECORDED / "pod-seed-secure.mutate.pods.json").read_bytes()
NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
FEW, MANY = 10, 10_000
SECRETS = (0, 10_000, 100_000)
ROUNDS, CALLS = 15, 400


def policy(**more: Any) -> Policy:
    """Return the default policy with one injection, and whatever else is given."""
    injection = {
        "name": "vault",
        "audience": "https://vault.example.com",
        "expirationSeconds": 1800,
        "mountPath": "/var/run/secrets/tokens/vault",
        "env": "VAULT_TOKEN_PATH",
    }
    document = {"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", "inject": [injection], **more}
    read = read_policy(json.dumps(document).encode())
    assert isinstance(read, Policy), read
    return read


def exemptions(count: int) -> list[dict[str, Any]]:
    """Return exemptions of all kinds of selectors, none of which holds for the body."""
    kinds = (
        {"namespaces": ["ci-{}"]},
        {"serviceAccounts": ["robot-{}"]},
        {"namespaces": ["demo"], "serviceAccounts": ["team-{}/*"]},
        {"namespaces": ["team-{}-*"], "users": ["user-{}"]},
    )
    return [
        {
            "rules": ["*"],
            "reason": "measured",
            "until": "never",
            **{key: [name.format(number) for name in names] for key, names in kinds[number % len(kinds)].items()},
        }
        for number in range(count)
    ]


def overrides(count: int) -> list[dict[str, Any]]:
    """Return overrides by name, by glob and by label, none of which matches the body's namespace."""
    kinds = (
        {"namespaces": ["ns-{}"]},
        {"namespaces": ["ns-{}-*"]},
        {"namespaces": ["x-{}"], "namespaceLabels": {"a": "b"}},
    )
    return [
        {
            "mode": "warn",
            **{
                key: [name.format(number) for name in value] if isinstance(value, list) else value
                for key, value in kinds[number % len(kinds)].items()
            },
        }
        for number in range(count)
    ]


def secrets(count: int) -> ClusterState:
    """Return a cluster with so many legacy Secrets in the body's namespace."""
    return ClusterState(legacy_tokens={"demo": {f"token-{number}": "app" for number in range(count)}})


Count = Callable[[AdmissionRequest, Decision, float], None]


def decision(of: Policy, cluster: ClusterState, count: Count | None = None) -> Callable[[], bytes]:
    """Return the whole path of a review: decode, evaluate, encode; and `count` it, where that is given."""

    def review() -> bytes:
        request = read_review(BODY, Phase.MUTATE)
        decided = evaluate(request, of, cluster, NOW)
        if count:
            count(request, decided, 0.0001)
        return encode_response(request, decided)

    return review


def baseline() -> bytes:
    """Read the body and answer it with the standard library alone, deciding nothing."""
    request = json.loads(BODY)["request"]
    response = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": "W10="}
    answer = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return json.dumps(answer).encode()


def cost(*works: Callable[[], bytes]) -> list[float]:
    """Return the microseconds of CPU that one call of each takes: their rounds take turns, the best one counts."""
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for number, work in enumerate(works):
            started = time.process_time_ns()
            for _ in range(CALLS):
                work()
            best[number] = min(best[number], (time.process_time_ns() - started) / CALLS / 1000)
    return best


def rows() -> Iterator[Row]:
    """Yield what a decision costs."""
    plain = policy()
    counted = decision(plain, secrets(1), Metrics(State()).count_review)
    base, decided, more = cost(baseline, decision(plain, secrets(1)), counted)
    yield _row("decode, evaluate, encode", decided, base, "json.loads of the same body, json.dumps of an answer")
    yield _row("decode, evaluate, count in the metrics, encode", more, decided, "not counted")
    for count in SECRETS:
        measured, with_one = cost(decision(plain, secrets(count)), decision(plain, secrets(1)))
        yield _row(f"a decision with {count:,} legacy Secrets", measured, with_one, "with 1")
    for what, made in (("exemptions", exemptions), ("overrides", overrides)):
        few, many = (decision(policy(**{what: made(count)}), secrets(1)) for count in (FEW, MANY))
        yield _row(f"a decision with {MANY:,} {what}", *cost(many, few), f"with {FEW}")


def _row(what: str, measured: float, compared: float, other: str) -> Row:
    return Row(f"{what}, us", f"{measured:.1f}", f"{compared:.1f} ({other})", measured / compared)
