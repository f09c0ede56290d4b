"""Compiles a policy into the objects with which the API server enforces it without the webhook."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from webhook.core.admission_request import AdmissionRequest, Phase
from webhook.core.cluster_state import DEFAULT_NAMESPACE, FALLBACK_API_AUDIENCES
from webhook.core.decision import Finding, Violation
from webhook.core.evaluate import build_finding
from webhook.core.kinds import Subject
from webhook.core.policy.model import Action, Override, Policy
from webhook.core.webhook_namespaces import EVERYWHERE, WebhookScopes
from webhook.export import cel, inject, mutations, pod_rules, secrets, token_requests
from webhook.export.check import CompilerInput, ExportedCheck, ExportedRule
from webhook.export.objects import (
    COUNT,
    KUBERNETES,
    MAX_EXPRESSION,
    MAX_OBJECT,
    MUTATING,
    PREFIX,
    SPEC_HASH,
    VALIDATING,
    Object,
    PolicyTooLargeError,
    constraints,
    metadata,
    mutating,
    spec_hash,
    validating,
)
from webhook.export.scopes import NOW, NOW_BEFORE_CREATION, NOW_OF_UPDATE, Scopes

_RULES = (pod_rules.rules, secrets.rules, token_requests.rules, inject.rules)
_ACTIONS = (Action.REJECT, Action.WARN, Action.AUDIT)
MUTATING_NAME = f"{PREFIX}pods"
TOO_LARGE = "the policy is too large for the API server"
_EVERYWHERE = (
    "workloads, ServiceAccounts and ephemeral containers: not expressed, their authors get no warnings",
    "paths with '..' and unusual spellings of Windows paths: not expressed, they count as other paths",
)


@dataclass(frozen=True)
class Export:
    """The objects, and what the API server does not enforce of the policy with them."""

    objects: Sequence[Object]
    not_expressed: Sequence[str]

    @property
    def kubernetes(self) -> str:
        """The first version of Kubernetes that serves the objects."""
        return KUBERNETES[MUTATING if any(obj["kind"] == MUTATING for obj in self.objects) else VALIDATING]


def compile_policy(
    policy: Policy,
    *,
    patched: bool,
    excluded: tuple[str, ...] = (DEFAULT_NAMESPACE,),
    webhooks: WebhookScopes = EVERYWHERE,
    api_audiences: tuple[str, ...] = FALLBACK_API_AUDIENCES,
) -> Export:
    """Return the objects that mean the same as a policy, in a fixed order.

    With `patched`, the API server patches pods as the webhook does; needs Kubernetes 1.36. Pods in the `excluded`
    namespaces are left alone, and so is everything in namespaces that the `webhooks` exclude. `api_audiences` are the
    API server's own, unless the policy names them. Raises `PolicyTooLargeError` if the API server would not accept the
    objects.
    """
    audiences = policy.api_server_token.audiences or api_audiences
    given = CompilerInput(policy, audiences, excluded, webhooks, patched, Scopes(policy))
    rules = [rule for rules in _RULES for rule in rules(given) if _is_on(given, rule.rule)]
    gaps = {rule.rule: [f"{rule.rule}: {gap}" for gap in rule.gaps] for rule in rules}
    everywhere = [*_EVERYWHERE, *(gap for rule in rules if not rule.checks for gap in gaps[rule.rule])]
    objects = [
        obj
        for rule in rules
        for action in _ACTIONS
        for obj in _validating(given, rule, action, [*gaps[rule.rule], *everywhere])
    ]
    if patched:
        objects = [*_mutating(given, everywhere), *objects]
    for obj in objects:
        _check_size(obj)
        hashes = {SPEC_HASH: spec_hash(obj), COUNT: str(len(objects))}
        obj["metadata"] = {**obj["metadata"], "annotations": {**obj["metadata"]["annotations"], **hashes}}
    every_gap = [*_EVERYWHERE, *(gap for rule in rules for gap in gaps[rule.rule])]
    return Export(objects, every_gap)


def _is_on(given: CompilerInput, rule: str) -> bool:
    return any(settings.rules[rule] is not Action.OFF for settings in given.scopes.settings.values())


def _validating(given: CompilerInput, rule: ExportedRule, action: Action, gaps: Sequence[str]) -> list[Object]:
    """Return the policy with the violations of a rule for one action; none if there are none."""
    variables = [_now(rule.subject), *given.scopes.variables(), *rule.variables]
    findings = []
    exemptions: dict[str, str] = {cel.FALSE: cel.FALSE}
    for number, check in enumerate(rule.checks):
        covered = given.scopes.exempt(rule.rule, check.accounts)
        if covered not in exemptions:
            exemptions[covered] = f"variables.exempt{number}"
            variables.append((f"exempt{number}", covered))
        exempt = exemptions[covered]
        for variant, (scopes, lines) in enumerate(_variants(given, rule, check, action)):
            name = f"found{number}" if variant == 0 else f"found{number}_{variant}"
            where = given.scopes.where(scopes)
            variables.append((name, lines if where == cel.TRUE else f"{where} ? ({lines}) : {cel.NO_LINES}"))
            expression = f"variables.{name}"
            if exempt != cel.FALSE:
                expression = f"({expression}.size() == 0 || {exempt} ? {cel.NO_LINES} : {expression})"
            findings.append(expression)
    if not findings:
        return []
    joined = findings[0] if len(findings) == 1 else _joined(findings)
    variables.append(("findings", joined))
    meta = metadata(given.policy.revision, gaps)
    return validating(rule.rule, action, _matched(given, rule.subject), variables, meta, help_text=given.policy.help)


def _joined(lists: Sequence[str]) -> str:
    """Return the lists of lines as one: a long chain of `+` would nest too deep for the API server's parser."""
    return cel.flattened(f"[{', '.join(lists)}].map(lines, lines.join('\\n'))")


def _now(subject: Subject) -> tuple[str, str]:
    return "now", NOW_OF_UPDATE if subject is Subject.SECRET else NOW


def _variants(
    given: CompilerInput, rule: ExportedRule, check: ExportedCheck, action: Action
) -> Iterator[tuple[list[int], str]]:
    """Yield the lines of a check for one action, with the scopes in which they say that."""
    variants: dict[tuple[str, bool], list[int]] = {}
    for scope, settings in given.scopes.settings.items():
        finding = _finding(rule, check.violation, settings)
        if finding is not None and finding.action is action:
            is_unpatched = (
                action is Action.REJECT and not given.patched and _is_repaired(rule, check.violation, settings)
            )
            variants.setdefault((finding.detail, is_unpatched), []).append(scope)
    for (detail, is_unpatched), scopes in variants.items():
        lines = check.unpatched if is_unpatched else check.lines
        if lines is not None:
            yield scopes, lines(cel.text(f"{rule.rule}: {{path}} {detail}", check.values))


def _finding(rule: ExportedRule, violation: Violation, settings: Override) -> Finding | None:
    intended = settings.rules[rule.rule]
    if intended is Action.OFF:
        return None
    request = AdmissionRequest(Phase.VALIDATE, "", "CREATE", "", "", "", rule.subject)
    return build_finding(rule.rule, intended, violation, request, settings.mode)


def _is_repaired(rule: ExportedRule, violation: Violation, settings: Override) -> bool:
    """Return whether the mutating webhook repairs the violation."""
    return bool(violation.edits) and (settings.rules[rule.rule] is Action.PATCH or violation.is_api_token)


def _mutating(given: CompilerInput, gaps: Sequence[str]) -> list[Object]:
    patches = list(mutations.patches(given))
    if not patches:
        return []
    variables = [("now", NOW_BEFORE_CREATION), *given.scopes.variables(), *mutations.variables(given)]
    meta = metadata(given.policy.revision, gaps)
    return mutating(MUTATING_NAME, _matched(given, Subject.POD), variables, patches, meta)


def _matched(given: CompilerInput, subject: Subject) -> Object:
    return constraints(subject, given.excluded, given.webhooks.of(subject))


def _check_size(obj: Object) -> None:
    name, size = obj["metadata"]["name"], len(json.dumps(obj, ensure_ascii=False).encode())
    if size > MAX_OBJECT:
        raise PolicyTooLargeError(f"{TOO_LARGE}: {obj['kind']} {name} has {size} bytes, exceeding {MAX_OBJECT}")
    for expression in _expressions(obj["spec"]):
        if len(expression) > MAX_EXPRESSION:
            raise PolicyTooLargeError(
                f"{TOO_LARGE}: an expression of {obj['kind']} {name} has"
                f" {len(expression)} characters, exceeding {MAX_EXPRESSION}"
            )


def _expressions(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _expressions(inner)
