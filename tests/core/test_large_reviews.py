"""What a review costs grows with the size of its body and no faster, whatever its author repeats in it."""

import datetime as dt
import gc
import time

import pytest

from tests.core.large_reviews import CLUSTER, INJECTIONS, LISTS, STRINGS, Maker, pod, policy, projected, token
from tests.golden_cases import golden_case
from tests.reviews import review
from webhook.audit.record import encode_record
from webhook.core.admission_request import Phase, read_review
from webhook.core.decision import Decision
from webhook.core.evaluate import MAX_FINDINGS, evaluate
from webhook.core.policy.model import Action
from webhook.core.rules.inject import MAX_MOUNTS
from webhook.server.admission_response import encode_response

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
PATCHES = policy(strongest=Action.PATCH)
REJECTS = policy(strongest=Action.REJECT)
WARNS = policy(strongest=Action.PATCH, mode="warn")
EVALUATIONS = (
    (Phase.MUTATE, PATCHES),
    (Phase.MUTATE, WARNS),
    (Phase.VALIDATE, PATCHES),
    (Phase.VALIDATE, REJECTS),
    (Phase.CHECK, PATCHES),
)
"""Each way that a decision takes, once: work in one of them must stand out among that of the others."""
SIZE, TEXT_SIZE = 80_000, 25_000
"""Bytes that are repeated in the smaller body: enough that quadratic work would be most of the work."""
LINEAR, QUADRATIC = 4, 16
ROUNDS = 5


def answer(body: bytes) -> None:
    for phase, policy_in_force in EVALUATIONS:
        request = read_review(body, phase)
        decision = evaluate(request, policy_in_force, CLUSTER, NOW)
        encode_response(request, decision)
        encode_record(request, decision, NOW, 0.001)


def seconds(body: bytes) -> float:
    """Measure without the garbage collector, which would look through whatever other tests have left."""
    gc.collect()
    gc.disable()
    try:
        started = time.process_time()
        answer(body)
        return time.process_time() - started
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("maker", "size"),
    [
        *(pytest.param(maker, SIZE, id=f"list: {name}") for name, maker in LISTS.items()),
        *(pytest.param(maker, TEXT_SIZE, id=f"text: {name}") for name, maker in STRINGS.items()),
    ],
)
@pytest.mark.covers("threat-model: expensive pod")
def test_review_cost_grows_with_the_body(maker: Maker, size: int) -> None:
    each = (len(maker(1100)) - len(maker(100))) / 1000
    count = int(size / each)
    small, large = maker(count), maker(LINEAR * count)
    ratios = []
    for _ in range(ROUNDS):  # each body is compared with what is measured beside it: how fast the machine is changes
        before, four_times, after = seconds(small), seconds(large), seconds(small)
        ratios.append(four_times / min(before, after))
        if ratios[-1] < QUADRATIC / 2:
            break
    assert ratios[-1] < QUADRATIC / 2, ratios


def decide(body: bytes, phase: Phase) -> Decision:
    return evaluate(read_review(body, phase), PATCHES, CLUSTER, NOW)


@pytest.mark.covers("threat-model: expensive pod")
def test_patch_of_too_many_violations_stops_and_denies_the_rest() -> None:
    body = review(pod(volumes=[projected(*[token(audience="vault")] * (MAX_FINDINGS + 1))]))
    assert (
        len([operation for operation in decide(body, Phase.MUTATE).patch if "expirationSeconds" in operation["path"]])
        == MAX_FINDINGS
    )
    patched = body.replace(b"3607", b"600", MAX_FINDINGS)
    [left] = [finding for finding in decide(patched, Phase.VALIDATE).findings if finding.rule == "token-expiration"]
    assert (left.action, left.path) == ("reject", f"spec.volumes[0].projected.sources[{MAX_FINDINGS}]")


def test_exempted_findings_over_maximum_hide_no_other_finding() -> None:
    reads = [{"name": "a", "valueFrom": {"secretKeyRef": {"name": name}}} for name in ("app-token", "robot-token")]
    variables = [reads[0]] * (MAX_FINDINGS + 1) + [reads[1]]
    document = {
        "exemptions": [{"rules": ["*"], "serviceAccounts": ["app"], "reason": "its own token", "until": "never"}],
    }
    golden = golden_case({"policy": document})
    request = read_review(review(pod(containers=[{"name": "app", "env": variables}])), Phase.VALIDATE)
    decision = evaluate(request, golden.policy, CLUSTER, NOW)
    [finding] = decision.findings
    assert finding.path == f"spec.containers[0].env[{MAX_FINDINGS + 1}]"
    assert len(decision.exempted) == MAX_FINDINGS


@pytest.mark.covers("threat-model: expensive pod")
def test_injection_into_too_many_containers_is_denied() -> None:
    fits = MAX_MOUNTS // INJECTIONS
    for count, patched in ((fits, True), (fits + 1, False)):
        body = review(pod(containers=[{"name": f"c{number}"} for number in range(count)]))
        assert bool(decide(body, Phase.MUTATE).patch) == patched
    [finding] = decide(body, Phase.VALIDATE).findings
    assert str(finding) == (
        f"inject: spec has {fits + 1} containers for {INJECTIONS} injected tokens, exceeding the maximum of "
        f"{MAX_MOUNTS} mounts; use fewer containers"
    )


def test_legacy_volume_with_too_many_files_is_denied() -> None:
    decision = decide(LISTS["items of a legacy volume"](21), Phase.VALIDATE)
    assert "it has more than 20 items" in str(decision.findings[0])
    assert decide(LISTS["items of a legacy volume"](20), Phase.MUTATE).patch[0]["path"] == "/spec/volumes/0/projected"
