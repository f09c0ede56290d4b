"""Bodies for `/mutate` and `/validate`: there is one valid answer to each, and it is about what the body says."""

import datetime as dt
import json
import random
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import msgspec

from tests.fuzz import seeds
from tests.fuzz.mutation import Mutator, depth
from tests.fuzz.patch_checks import assert_patch_is_sound
from tests.golden_cases import LOADED, golden_case
from tests.server.replica import answer_review
from webhook.audit.log_entry import decode_entry
from webhook.core.admission_request import InvalidReviewError, Phase, read_review
from webhook.core.decision import Decision
from webhook.core.evaluate import evaluate
from webhook.core.k8s_types import Object
from webhook.core.kinds import Subject
from webhook.server.admission_response import WARNING_BYTES
from webhook.server.audit_log.logger import AuditLog
from webhook.server.audit_log.sink import Sink
from webhook.server.metrics.definitions import INTERNAL_ERRORS
from webhook.server.metrics.recorder import Metrics
from webhook.server.review_handler import ReviewHandler
from webhook.server.state import State

NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
LONGEST_LINE = 2 << 20
PATCHING = {
    "rules": {"legacy-token-reference": "patch", "api-token-automount": "patch"},
    "tokens": {"audiences": {"default": "https://vault.example.com"}},
    "inject": [
        {"name": "vault", "audience": "https://vault.example.com", "mountPath": "/v", "env": "V"},
        {"name": "db", "audience": "db", "mountPath": "/db", "onRequest": True},
    ],
}
TOKENS = [
    {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
     "metadata": {"name": name, "namespace": "demo", "annotations": {"kubernetes.io/service-account.name": account}}}
    for name, account in (("app-token", "app"), ("robot-token", "robot"))
]  # fmt: skip
_DEEPEST = 100
"""Deeper ones are evaluated, but what their patches make isn't looked at: the tools of the tests recurse."""


class Literal(str):
    """A number, as its digits stand in a document."""

    __slots__ = ()


class Lines(Sink):
    """Where the audit log goes: each line is one, and within bounds."""

    def write(self, line: bytes) -> None:
        """Check a line."""
        assert len(line) < LONGEST_LINE
        assert line.index(b"\n") == len(line) - 1
        assert decode_entry(line).is_tokenguard


class ReviewChecker:
    """A review handler with one policy and cluster; checks every answer."""

    def __init__(self, case: dict[str, Any]) -> None:
        """Take what a golden case has: `policy`, `cluster` and `api-audiences`."""
        golden = golden_case(case)
        self.policy, self.cluster = golden.policy, golden.cluster
        state = State()
        state.use_policy(self.policy)
        state.use_cluster(self.cluster)
        self.metrics = Metrics(state)
        self.handler = ReviewHandler(
            state,
            AuditLog([Lines("lines")], self.metrics, level="all"),
            self.metrics,
            create_event=msgspec.json.encode,
            clock=lambda: NOW,
        )  # type: ignore[arg-type]

    def examine(self, body: bytes) -> set[str]:
        """Check all that is promised of one body; return what its answers are like."""
        seen: set[str] = set()
        for phase in (Phase.MUTATE, Phase.VALIDATE):
            answer = answer_review(self.handler, body, phase)
            assert self.metrics.values[INTERNAL_ERRORS][()].value == 0, "an error of tokenguard's own"
            response = self._checked_response(answer, phase)
            other = canonical(body)
            if other is not None:
                again = answer_review(self.handler, other, phase)
                assert again == answer or not _is_read(body, phase), (
                    again,
                    "is said of what another reader finds in it, not",
                    answer,
                )
            if "patch" in response:
                seen |= self._check_patch(body, json.loads(b64decode(response["patch"], validate=True)))
            seen |= _features(response, phase)
        return seen

    def _checked_response(self, answer: Any, phase: Phase) -> dict[str, Any]:
        """Return the answer's `response`, after checking that the API server takes it."""
        assert answer.status in {200, 400}, answer
        document = json.loads(answer.body)
        if answer.status == 400:
            assert (document["kind"], document["code"]) == ("Status", 400), document
            assert "\n" not in document["message"], document
            return document
        assert (document["apiVersion"], document["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        response: dict[str, Any] = document["response"]
        assert response["uid"]
        assert set(response) <= {"uid", "allowed", "status", "patch", "patchType", "warnings", "auditAnnotations"}
        assert ("status" in response) is not response["allowed"]
        if not response["allowed"]:
            assert response["status"]["code"] in {400, 403, 422}, response
            assert response["status"]["message"]
        assert ("patch" in response) is ("patchType" in response)
        assert "patch" not in response or (phase is Phase.MUTATE and response["allowed"])
        warnings = response.get("warnings", [])
        assert all(warning.isprintable() for warning in warnings), warnings
        assert sum(len(warning.encode()) for warning in warnings) <= WARNING_BYTES
        assert all(isinstance(value, str) for value in response["auditAnnotations"].values())
        return response

    def _check_patch(self, body: bytes, patch: list[dict[str, Any]]) -> set[str]:
        """Check a patch against the core's own, and what comes of it."""
        request = read_review(body, Phase.MUTATE)
        assert request.subject is Subject.POD, request
        core = evaluate(request, self.policy, self.cluster, NOW)
        assert [*core.patch] == patch, "the webhook sends what the core decides"
        review = json.loads(body.decode(errors="surrogateescape"), parse_float=Literal, parse_int=Literal)
        obj = review["request"]["object"]
        if depth(obj) < _DEEPEST and is_admissible(obj):
            assert_patch_is_sound(obj, lambda changed, phase: self._decide(review, changed, phase))
        return {re.sub(r"\d+", "N", f"{operation['op']} {operation['path']}") for operation in patch}

    def _decide(self, review: dict[str, Any], obj: dict[str, Any], phase: Phase) -> Decision:
        changed = {**review, "request": {**review["request"], "object": obj}}
        return evaluate(read_review(written(changed), phase), self.policy, self.cluster, NOW)


class Reviews:
    """The target: bodies made of seeds, each evaluated by one of several policies."""

    name = "reviews"

    def __init__(self, chance: random.Random) -> None:
        """Take the state that everything at random comes from."""
        self._chance = chance
        self.seeds = seeds.reviews()
        self._mutator = Mutator(self.seeds, chance)
        self.keep = self._mutator.keep
        given = [{"policy": PATCHING, "cluster": TOKENS}, {"cluster": TOKENS}, {"policy": {"mode": "warn", **PATCHING}}]
        given += [case for _, case in LOADED if "policy" in case and len(str(case["policy"])) > 150]
        self.checkers = [ReviewChecker(case) for case in given]

    def next(self) -> tuple[int, bytes]:
        """Return a body, and before it the index of its checker: half of them the first."""
        index = 0 if self._chance.random() < 0.5 else self._chance.randrange(len(self.checkers))
        return index, self._mutator.next()

    def examine(self, which: int, body: bytes) -> set[str]:
        """Check what is promised of one body."""
        return self.checkers[which].examine(body)


def _names(kind: type[Object]) -> Iterator[str]:
    """Yield the names of all fields that are read."""
    yield from kind.__struct_encode_fields__
    for each in kind.__subclasses__():
        yield from _names(each)


NAMES = frozenset(_names(Object))
_LOWERED = frozenset(name.lower() for name in NAMES)


def _is_read(body: bytes, phase: Phase) -> bool:
    """Return whether a body is read and evaluated; what isn't is denied under mode enforce."""
    try:
        return not read_review(body, phase).problem
    except InvalidReviewError:
        return False


def canonical(body: bytes) -> bytes | None:
    """Return the body as the API server would have written it, or None where it can't be read as JSON.

    So each key stands there once, and none in another case: what `Spec` holds is nobody's `spec`. Python's own
    reader reads it. No rule reads a fraction, so one stands for all.
    """
    try:
        review = json.loads(
            body.decode(errors="surrogateescape"),
            object_pairs_hook=_known_keys,
            parse_float=lambda _: 0.5,
            parse_constant=_refuse,
        )
        return json.dumps(review, ensure_ascii=False).encode(errors="surrogateescape")
    except (ValueError, RecursionError):
        return None


def _known_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if key in NAMES or key.lower() not in _LOWERED}


def _refuse(name: str) -> None:
    raise ValueError(name)


def written(value: Any) -> bytes:
    """Return JSON in which each number is written with the digits that it had."""
    return "".join(_written(value)).encode(errors="surrogateescape")


def _written(value: Any) -> Iterator[str]:
    if isinstance(value, Literal):
        yield value
    elif isinstance(value, dict):
        yield "{"
        for number, (key, inner) in enumerate(value.items()):
            yield "," if number else ""
            yield json.dumps(key, ensure_ascii=False)
            yield ":"
            yield from _written(inner)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for number, inner in enumerate(value):
            yield "," if number else ""
            yield from _written(inner)
        yield "]"
    else:
        yield json.dumps(value, ensure_ascii=False)


def is_admissible(pod: Any) -> bool:
    """Say whether the API server would go on with this pod: what names a thing in it names one thing."""
    spec = pod["spec"]
    volumes = [volume.get("name") for volume in spec.get("volumes") or ()]
    every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    names = [container.get("name") for container in every]
    mounts = [[mount.get("mountPath") for mount in container.get("volumeMounts") or ()] for container in every]
    return all(len({*those}) == len(those) for those in (volumes, names, *mounts))


def _features(response: dict[str, Any], phase: Phase) -> set[str]:
    """Return the features of an answer without its values: a body that leads to new ones is kept as a seed."""
    if "message" in response:
        return {_shape(response["message"])}
    annotations = response["auditAnnotations"]
    message = response.get("status", {}).get("message", "")
    lines = {_shape(line) for line in (*message.split("\n"), *response.get("warnings", ()))}
    rules, exempted = annotations.get("rules"), bool(annotations.get("exemption"))
    return {f"{phase}: {annotations['decision']} {rules} {exempted}", *lines}


def _shape(line: str) -> str:
    """Return a line without what others wrote, and without where that stands."""
    return re.sub(r'"(?:[^"\\]|\\.)*"?|[\w./]*\[[^ ]*|\d+|\$\S*', "_", line)[:160]
