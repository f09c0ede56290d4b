"""For any denied request for a token, the suggested command is allowed and asks for the nearest token."""

import argparse
import datetime as dt
import json
import shlex
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.reviews import review
from webhook.core.admission_request import Phase, read_review
from webhook.core.cluster_state import ClusterState
from webhook.core.decision import Decision, Finding
from webhook.core.evaluate import evaluate
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
API = "https://kubernetes.default.svc"
UNITS = {"h": 3600, "m": 60, "s": 1}
KUBECTL = argparse.ArgumentParser(exit_on_error=False)
for flag in ("--duration", "-n", "--bound-object-kind", "--bound-object-name"):
    KUBECTL.add_argument(flag)
KUBECTL.add_argument("--audience", action="append", default=[])
KUBECTL.add_argument("words", nargs="*")

actions = st.sampled_from(["reject", "warn", "audit", "off"])
policies = st.fixed_dictionaries({
    "rules": st.fixed_dictionaries({
        f"token-request-{what}": actions for what in ("expiration", "audience", "binding")
    }),
    "tokens": st.fixed_dictionaries({
        "maxExpirationSeconds": st.sampled_from([600, 3600, 3607, 86400]),
        "maxRequestExpirationSeconds": st.sampled_from([None, 601, 3607, 7200]),
        "audiences": st.fixed_dictionaries({"allowed": st.sampled_from([[], ["vault"], ["vault", "*(id)"]])}),
    }),
})  # fmt: skip
specs = st.fixed_dictionaries({
    "audiences": st.one_of(
        st.none(), st.lists(st.sampled_from([API, "vault", "my 'own", "valut", "$(id)", "-n", "a\nb", "x" * 200]))
    ),
    "expirationSeconds": st.sampled_from([None, 600, 3600, 3607, 7200, 31_536_000, 1 << 32]),
    "boundObjectRef": st.sampled_from([
        None, {"kind": "Pod", "name": "app"}, {"kind": "Secret", "name": "s"}, {"kind": "Node", "name": "n"},
    ]),
})  # fmt: skip


def decided(spec: dict[str, Any], policy: Policy) -> Decision:
    body = review({"kind": "TokenRequest", "metadata": {"name": "app"}, "spec": spec}, name="app")
    return evaluate(read_review(body, Phase.VALIDATE), policy, ClusterState(), NOW)


def commands(findings: tuple[Finding, ...]) -> list[str]:
    lines = [str(finding) for finding in findings]
    return [line.rpartition("run: kubectl ")[2] for line in lines if "run: kubectl " in line]


def request_of(command: str, audience: str) -> dict[str, Any]:
    """Return what a command asks for; a word that is left to the reader is filled in with what there is."""
    arguments = KUBECTL.parse_args(shlex.split(command))
    assert (arguments.words, arguments.n) == (["create", "token", "app"], "demo")
    bound = arguments.bound_object_kind and {"kind": arguments.bound_object_kind, "name": arguments.bound_object_name}
    return {
        "audiences": [audience if word == "AUDIENCE" else word for word in arguments.audience],
        "expirationSeconds": int(arguments.duration[:-1]) * UNITS[arguments.duration[-1]],
        "boundObjectRef": bound,
    }


@given(policies, specs)
@example(
    {"rules": {}, "tokens": {"maxExpirationSeconds": 3607, "audiences": {"allowed": ["vault"]}}},
    {"audiences": [API, "valut"], "expirationSeconds": 7200, "boundObjectRef": {"kind": "Pod", "name": "app"}},
)
def test_suggested_command_is_allowed_and_asks_for_the_same(document, spec) -> None:
    policy = read_policy(json.dumps({"apiVersion": "tokenguard/v1", "kind": "TokenPolicy", **document}).encode())
    assert isinstance(policy, Policy), policy
    refused = decided(spec, policy)
    suggested = commands(refused.rejections())
    assume(suggested)
    for command in suggested:
        assert "\n" not in command
        instead = request_of(command, audience="vault")
        assert decided(instead, policy).rejections() == ()
        assert instead["expirationSeconds"] <= (spec["expirationSeconds"] or 3600)
        assert set(instead["audiences"]) <= {*(spec["audiences"] or ()), "vault"}
        assert instead["boundObjectRef"] == (spec["boundObjectRef"] or instead["boundObjectRef"])
