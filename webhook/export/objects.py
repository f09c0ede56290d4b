"""The objects of `admissionregistration.k8s.io/v1` that an export consists of."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from webhook.core.errors import UserError
from webhook.core.exclusions import KUBE_SYSTEM_ACCOUNT, MIRROR, NODE_USER, NODES, SYSTEM_NAMESPACE, TOKEN_CONTROLLER
from webhook.core.kinds import TOKEN_GRANTING, Subject
from webhook.core.policy.model import Action
from webhook.core.webhook_namespaces import NAME_LABEL, Requirement, WebhookScope
from webhook.export import cel

API_VERSION = "admissionregistration.k8s.io/v1"
VALIDATING, MUTATING = "ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"
KUBERNETES = {VALIDATING: "1.30", MUTATING: "1.36"}
"""The first version that serves a kind without a feature gate."""
MANAGED_BY = {"app.kubernetes.io/name": "tokenguard", "app.kubernetes.io/managed-by": "tokenguard"}
PREFIX = "tokenguard-"
"""What the names of all objects begin with."""
POLICY, NOT_EXPRESSED = "tokenguard/policy", "tokenguard/not-expressed"
SPEC_HASH, COUNT = "tokenguard/spec-sha256", "tokenguard/exported-objects"
"""Annotations that show whether an object was edited, and whether another one is missing."""
MAX_EXPRESSION = 100_000
"""The longest expression that the API server compiles, in characters (cel-go: `parser.Options`)."""
MAX_OBJECT = 1 << 20
"""The largest object, in bytes of JSON: etcd stores 1.5 MiB with the metadata that the API server adds."""
_ACTIONS = {
    Action.REJECT: ("deny", ["Deny", "Audit"]),
    Action.WARN: ("warn", ["Warn"]),
    Action.AUDIT: ("audit", ["Audit"]),
}
_RESOURCES = {
    Subject.POD: ("pods", ["CREATE"]),
    Subject.SECRET: ("secrets", ["CREATE", "UPDATE"]),
    Subject.TOKEN_REQUEST: ("serviceaccounts/token", ["CREATE"]),
}
_IS_NODE = (
    f"request.userInfo.username.startsWith({cel.string(NODE_USER)})"
    f" && {cel.string(NODES)} in request.userInfo.?groups.orValue([])"
)
_CONDITIONS = {
    Subject.POD: {
        "not-a-mirror-pod-of-a-node": (
            f"!({_IS_NODE} && {cel.string(MIRROR)} in object.metadata.?annotations.orValue({{}}))"
        ),
    },
    Subject.SECRET: {
        "not-the-token-controller": (
            f"request.operation == 'CREATE' || request.userInfo.username != {cel.string(TOKEN_CONTROLLER)}"
        ),
    },
    Subject.TOKEN_REQUEST: {
        "not-a-node": f"!({_IS_NODE})",
        "not-kube-system": f"!request.userInfo.username.startsWith({cel.string(KUBE_SYSTEM_ACCOUNT)})",
    },
}
_VARIABLE = re.compile(r"\bvariables\.(\w+)")

Object = dict[str, Any]
Variables = Sequence[tuple[str, str]]


def spec_hash(obj: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an object's spec."""
    return hashlib.sha256(json.dumps(obj["spec"], sort_keys=True).encode()).hexdigest()


class PolicyTooLargeError(UserError):
    """A policy that the API server could not compile or store as CEL."""


def metadata(revision: str, gaps: Iterable[str]) -> Object:
    """Return the metadata of an object; `gaps` is what the API server does not enforce of the policy."""
    lines = "\n".join(gaps)
    annotations = {POLICY: revision, **({NOT_EXPRESSED: lines} if lines else {})}
    return {"labels": MANAGED_BY, "annotations": annotations}


def validating(  # noqa: PLR0913 - the parts of one object
    rule: str,
    action: Action,
    matched: Mapping[str, Any],
    variables: Variables,
    meta: Mapping[str, Any],
    *,
    help_text: str,
) -> list[Object]:
    """Return the policy with the violations of a rule for one action, and its binding.

    `matched` are the requests that it is about; the variable `findings` is the list of the messages, which `help_text`
    follows.
    """
    word, actions = _ACTIONS[action]
    name = f"{PREFIX}{rule}-{word}"
    more = "variables.findings.size() > 1 ? '; and ' + string(variables.findings.size() - 1) + ' more' : ''"
    reference = cel.string(f"{help_text and f'; {help_text}'} [see 'tokenguard rules {rule}']")
    validation = {
        "expression": "variables.findings.size() == 0",
        "messageExpression": f"variables.findings[0] + ({more}) + {reference}",
        "reason": "Forbidden",
    }
    spec = {
        # what cannot be evaluated is denied where the rule denies, and is let in elsewhere
        "failurePolicy": "Fail" if action is Action.REJECT else "Ignore",
        **matched,
        "variables": _used(variables, validation),
        "validations": [validation],
    }
    return _with_binding(VALIDATING, name, meta, spec, {"validationActions": actions})


def mutating(
    name: str, matched: Mapping[str, Any], variables: Variables, patches: Sequence[str], meta: Mapping[str, Any]
) -> list[Object]:
    """Return the policy that patches pods, and its binding; each of the patches sees what those before it did."""
    mutations = [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}} for patch in patches]
    spec = {
        "failurePolicy": "Ignore",  # what was not patched is denied by the validating policies
        "reinvocationPolicy": "IfNeeded",
        **matched,
        "variables": _used(variables, mutations),
        "mutations": mutations,
    }
    return _with_binding(MUTATING, name, meta, spec, {})


def constraints(subject: Subject, excluded: Sequence[str], scope: WebhookScope) -> Object:
    """Return which requests about a subject a policy is about: those of the webhook's `scope`.

    Pods in the `excluded` namespaces are left alone, too.
    """
    resource, operations = _RESOURCES[subject]
    names = dict.fromkeys([SYSTEM_NAMESPACE, *([] if subject in TOKEN_GRANTING else excluded), *sorted(scope.excluded)])
    others = []
    for requirement in scope.requirements:
        if (requirement.key, requirement.operator) == (NAME_LABEL, "NotIn"):
            names.update(dict.fromkeys(requirement.values))
        else:
            others.append(requirement)
    requirements = [Requirement(NAME_LABEL, "NotIn", tuple(names)), *others]
    terms = [
        {"key": key, "operator": operator, **({"values": [*values]} if values else {})}
        for key, operator, values in requirements
    ]
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": [resource],
        "operations": operations,
        "scope": "Namespaced",
    }
    conditions = [{"name": name, "expression": expression} for name, expression in _CONDITIONS[subject].items()]
    return {
        "matchConstraints": {
            "resourceRules": [rule],
            "namespaceSelector": {"matchExpressions": terms},
            "objectSelector": {},  # as the API server sets it: so that an object reads as it was written
            "matchPolicy": "Equivalent",
        },
        "matchConditions": conditions,
    }


def _with_binding(
    kind: str, name: str, meta: Mapping[str, Any], spec: Mapping[str, Any], binding: Mapping[str, Any]
) -> list[Object]:
    head = {"apiVersion": API_VERSION, "metadata": {"name": name, **meta}}
    return [
        {"kind": kind, **head, "spec": dict(spec)},
        {"kind": f"{kind}Binding", **head, "spec": {"policyName": name, **binding}},
    ]


def _used(variables: Variables, expressions: Any) -> list[Object]:
    """Return the variables that are used by the expressions, or by a variable that is."""
    first = dict(reversed(variables))  # the first of those with the same name, which the others repeat
    names = set(_VARIABLE.findall(str(expressions)))
    used: list[Object] = []
    for name, expression in reversed({name: first[name] for name, _ in variables}.items()):
        if name in names:
            names.update(_VARIABLE.findall(expression))
            used.append({"name": name, "expression": expression})
    return used[::-1]
