"""Compiling a policy: which objects, in which order, and what is said about the rest. What they do: control_plane."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.policies import DESIGN, HEAD
from webhook.core.policy.loader import default_policy, read_policy
from webhook.core.policy.model import Policy
from webhook.core.webhook_namespaces import NAME_LABEL, Requirement, WebhookScope, WebhookScopes
from webhook.export.compiler import Export, compile_policy
from webhook.export.objects import (
    MAX_EXPRESSION,
    MUTATING,
    NOT_EXPRESSED,
    POLICY,
    VALIDATING,
    PolicyTooLargeError,
)
from webhook.export.secrets import claim_texts

WEBHOOKS = Path(__file__).parent.parent.parent / "manifests/webhooks/validating.yaml"


def policy(text: str) -> Policy:
    parsed = read_policy(f"{HEAD}{text}".encode())
    assert isinstance(parsed, Policy), parsed
    return parsed


def export(text: str, *, patched: bool = False) -> Export:
    return compile_policy(policy(text), patched=patched)


def bindings(exported: Export) -> dict[str, list[str]]:
    return {
        obj["metadata"]["name"]: obj["spec"]["validationActions"]
        for obj in exported.objects
        if obj["kind"] == "ValidatingAdmissionPolicyBinding"
    }


def test_compile_default_policy_binds_each_rule_with_its_action() -> None:
    assert bindings(compile_policy(default_policy(), patched=False)) == {
        "tokenguard-token-expiration-deny": ["Deny", "Audit"],
        "tokenguard-token-expiration-warn": ["Warn"],
        "tokenguard-token-audience-deny": ["Deny", "Audit"],
        "tokenguard-token-subpath-warn": ["Warn"],
        "tokenguard-kubelet-hostpath-warn": ["Warn"],
        "tokenguard-legacy-token-secret-deny": ["Deny", "Audit"],
        "tokenguard-token-request-expiration-deny": ["Deny", "Audit"],
        "tokenguard-token-request-binding-audit": ["Audit"],
        "tokenguard-inject-deny": ["Deny", "Audit"],
    }


def test_compile_mode_lowers_every_action() -> None:
    actions = bindings(export("mode: warn"))
    assert not any("Deny" in listed for listed in actions.values())
    assert actions["tokenguard-token-expiration-audit"] == ["Audit"]  # of the API server's own token
    assert set(map(tuple, bindings(export("mode: audit")).values())) == {("Audit",)}


def test_compile_override_has_policies_of_both_actions() -> None:
    actions = bindings(export("overrides: [{namespaces: ['s-*'], rules: {token-subpath: reject}}]"))
    assert {"tokenguard-token-subpath-deny", "tokenguard-token-subpath-warn"} <= actions.keys()


def test_compile_twice_gives_the_same_objects() -> None:
    assert export(DESIGN.partition("kind: TokenPolicy\n")[2], patched=True) == export(
        DESIGN.partition("kind: TokenPolicy\n")[2], patched=True
    )


def test_compile_annotates_revision_and_what_is_not_expressed() -> None:
    exported = export("rules: {legacy-token-reference: patch}")
    annotations = exported.objects[0]["metadata"]["annotations"]
    assert annotations[POLICY] == policy("rules: {legacy-token-reference: patch}").revision
    assert "legacy-token-reference: not expressed" in annotations[NOT_EXPRESSED]
    assert "legacy-token-reference: not expressed: CEL cannot see the type of a Secret that a pod refers to" in (
        exported.not_expressed
    )


def test_compile_rule_that_is_off_is_neither_exported_nor_listed() -> None:
    exported = export("rules: {legacy-token-reference: off, token-subpath: off}")
    assert not any("subpath" in name for name in bindings(exported))
    assert not any("legacy-token-reference" in gap for gap in exported.not_expressed)


REPORTED_TWICE = "an API server token that would be removed is recorded as too long"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("mode: warn\nrules: {api-token-automount: patch}", True, id="mode warn"),
        pytest.param("rules: {api-token-automount: patch}\noverrides: [{mode: audit}]", True, id="override"),
        pytest.param("rules: {api-token-automount: patch}", False, id="mode enforce"),
        pytest.param("mode: warn\nrules: {api-token-automount: reject}", False, id="not removed"),
        pytest.param("mode: warn\nrules: {api-token-automount: patch, token-expiration: off}", False, id="off"),
    ],
)
@pytest.mark.parametrize("patched", [False, True])
def test_compile_names_the_removed_token_that_is_reported(text: str, expected: bool, patched: bool) -> None:  # noqa: FBT001 - a table
    gaps = export(text, patched=patched).not_expressed
    assert any(gap.endswith(REPORTED_TWICE) and gap.startswith("token-expiration: ") for gap in gaps) is expected


def test_compile_names_paths_that_no_expression_resolves() -> None:
    exported = export("")
    assert any("paths with '..'" in gap for gap in exported.not_expressed)
    assert all("paths with '..'" in obj["metadata"]["annotations"][NOT_EXPRESSED] for obj in exported.objects)


def test_compile_patched_policy_mutates_pods_without_gaps() -> None:
    exported = export("rules: {api-token-automount: patch}", patched=True)
    kinds = [obj["kind"] for obj in exported.objects]
    assert kinds[:2] == ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"]
    assert kinds.count("MutatingAdmissionPolicy") == 1
    assert not any(gap.startswith(("token-expiration", "api-token-automount")) for gap in exported.not_expressed)


def test_compile_policy_without_patches_has_no_mutating_policy() -> None:
    exported = export("mode: warn", patched=True)
    assert not any(obj["kind"].startswith("Mutating") for obj in exported.objects)


def test_compile_too_long_expression_is_refused() -> None:
    patterns = ", ".join(f"'team-{number:05}-*'" for number in range(9000))
    with pytest.raises(
        PolicyTooLargeError, match=f"token-expiration-deny has .* characters, exceeding {MAX_EXPRESSION}"
    ):
        export(f"exemptions: [{{rules: ['*'], namespaces: [{patterns}], reason: r, until: never}}]")


def test_compile_too_large_object_is_refused() -> None:
    injections = "\n".join(f"- {{name: i{number}, audience: a, mountPath: /i{number}}}" for number in range(900))
    with pytest.raises(PolicyTooLargeError, match=r"tokenguard-inject-deny has \d+ bytes"):
        export(f"inject:\n{injections}")


def test_claim_texts_are_those_of_the_webhook_configuration() -> None:
    manifest = WEBHOOKS.read_text()
    assert all(f"'{text}'" in manifest for text in claim_texts())
    assert len(set(claim_texts())) == 9


FUNCTIONS = {
    VALIDATING: {
        "standard": {"all", "contains", "exists", "filter", "has", "map", "matches", "size", "startsWith", "string",
                     "timestamp"},
        "lists, 1.24": {"indexOf", "max", "min", "sum"},
        "strings, 1.29": {"join", "quote", "replace", "split", "substring", "trim"},
        "optional types, 1.28": {"of", "ofNonZeroValue", "orValue"},
    },
    MUTATING: {"standard": {"dyn", "int"}, "two variables, 1.33": {"transformList"}},
}  # fmt: skip
"""The functions and macros of CEL that are used, by library and the version that brought it: see docs/backstop.md."""


def test_compile_uses_functions_that_kubernetes_1_30_has() -> None:
    used: dict[str, set[str]] = {VALIDATING: set(), MUTATING: set()}
    for obj in export(DESIGN.partition("kind: TokenPolicy\n")[2], patched=True).objects:
        names = used[obj["kind"].removesuffix("Binding")]
        for expression in strings_in(obj["spec"]):
            code = re.sub(r"""(["'])(?:[^\\]|\\.)*?\1""", "", expression)
            names.update(re.findall(r"(\w+)\(", code))
    validating, mutating = ({name for names in FUNCTIONS[kind].values() for name in names} for kind in FUNCTIONS)
    assert used[VALIDATING] <= validating
    assert used[MUTATING] <= validating | mutating
    assert len(used[VALIDATING]) > 15, "the policy of the design needs most of them"


def strings_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings_in(inner)


def selectors(exported: Export) -> dict[str, list[dict[str, object]]]:
    """Return the requirements of the namespaceSelector by resource."""
    matched = [obj["spec"]["matchConstraints"] for obj in exported.objects if "matchConstraints" in obj["spec"]]
    return {obj["resourceRules"][0]["resources"][0]: obj["namespaceSelector"]["matchExpressions"] for obj in matched}


def not_in(*names: str) -> dict[str, object]:
    return {"key": NAME_LABEL, "operator": "NotIn", "values": [*names]}


def test_compile_leaves_pods_in_excluded_namespaces_alone() -> None:
    exported = compile_policy(default_policy(), patched=True, excluded=("guard", "guard-probe"))
    assert selectors(exported) == {
        "pods": [not_in("kube-system", "guard", "guard-probe")],
        "secrets": [not_in("kube-system")],
        "serviceaccounts/token": [not_in("kube-system")],
    }


def test_compile_excludes_what_the_webhooks_exclude() -> None:
    webhooks = WebhookScopes(
        WebhookScope((Requirement(NAME_LABEL, "NotIn", ("kube-system", "a")), Requirement("off", "DoesNotExist"))),
        WebhookScope((Requirement("guarded", "In", ("yes",)),)),
        WebhookScope(excluded=frozenset({"c", "b"})),
    )
    assert selectors(compile_policy(default_policy(), patched=True, webhooks=webhooks)) == {
        "pods": [not_in("kube-system", "tokenguard", "a"), {"key": "off", "operator": "DoesNotExist"}],
        "secrets": [not_in("kube-system"), {"key": "guarded", "operator": "In", "values": ["yes"]}],
        "serviceaccounts/token": [not_in("kube-system", "b", "c")],
    }


def test_compile_ends_messages_with_the_help_of_the_policy() -> None:
    exported = export("messages: {url: https://x/it's, contact: '#team'}")
    messages = [
        validation["messageExpression"] for obj in exported.objects for validation in obj["spec"].get("validations", ())
    ]
    help_text = "; for help, see https://x/it's or contact #team [see 'tokenguard rules "
    assert messages
    assert all(help_text in message for message in messages)


DEFAULTS = "rules: {api-token-automount: patch}\ntokens: {audiences: {default: vault}}\n"
INJECTS = "inject: [{name: v, audience: a, mountPath: /v}]\n"
UNPATCHED = {
    "token-expiration: not fully enforced: nothing caps the API server token",
    "token-expiration: not fully enforced: nothing caps a token that its author projects",
    "token-audience: not fully enforced: nothing adds the default audience",
    "api-token-automount: not expressed: nothing removes kube-api-access-*",
    "inject: not fully enforced: nothing injects a token",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{DEFAULTS}{INJECTS}", UNPATCHED),
        ("", {gap for gap in UNPATCHED if gap.startswith("token-expiration")}),
        ("rules: {token-expiration: reject}", {gap for gap in UNPATCHED if "API server token" in gap}),
        (f"mode: warn\n{DEFAULTS}{INJECTS}", set()),
        (
            f"{DEFAULTS.replace('{api', '{token-audience: reject, token-expiration: off, api')}{INJECTS}",
            {gap for gap in UNPATCHED if not gap.startswith("token-")},
        ),
    ],
    ids=["everything", "default policy", "reject", "mode warn", "off"],
)
def test_compile_unpatched_lists_what_nothing_patches(text: str, expected: set[str]) -> None:
    assert {gap for gap in UNPATCHED if any(gap in listed for listed in export(text).not_expressed)} == expected
    patched = export(text, patched=True).not_expressed
    assert not any(gap in listed for gap in UNPATCHED for listed in patched)
