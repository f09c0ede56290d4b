"""Writing a policy out again, with every default filled in, as a document that means the same."""

from typing import Any

from webhook.core.policy import schema
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import Injection, Override, Policy, Tokens
from webhook.core.rules import BY_NAME
from webhook.core.selectors import Labels


def policy_document(policy: Policy) -> dict[str, Any]:
    """Return the whole policy as the values of a document."""
    return {
        "apiVersion": schema.API_VERSION,
        "kind": schema.KIND,
        "mode": str(policy.mode),
        "rules": {rule: str(action) for rule, action in policy.rules.items()},
        "tokens": _tokens(policy.tokens),
        "apiServerToken": {
            "expiration": "keep" if policy.api_server_token.keep else "cap",
            "audiences": list(policy.api_server_token.audiences),
        },
        "kubeletRootDirs": list(policy.kubelet_root_dirs),
        "workloads": [
            {"apiGroup": group, "kind": kind, "template": template}
            for (group, kind), template in policy.workloads.items()
        ],
        "inject": [_injection(one) for one in policy.injections],
        "overrides": [_override(one) for one in policy.overrides],
        "exemptions": [_exemption(one) for one in policy.exemptions],
    }


def namespace_document(policy: Policy, namespace: str, labels: Labels) -> dict[str, Any]:
    """Return what holds in one namespace: the document that would say the same for it alone."""
    here = policy.in_namespace(namespace, labels)
    return {
        **policy_document(policy),
        "mode": str(here.mode),
        "rules": {rule: str(action) for rule, action in here.rules.items()},
        "tokens": _tokens(here.tokens),
        "inject": [_injection(one) for one in here.injections],
        "overrides": [],
        "exemptions": [_exemption(one) for one in policy.exemptions if one.applies_to_namespace(namespace)],
    }


def _tokens(tokens: Tokens) -> dict[str, Any]:
    audiences = tokens.audiences
    return {
        "maxExpirationSeconds": tokens.max_expiration_seconds,
        "maxRequestExpirationSeconds": tokens.max_request_expiration_seconds,
        "audiences": {
            "required": audiences.required,
            "default": audiences.default,
            "allowed": list(audiences.allowed.patterns),
        },
    }


def _injection(one: Injection) -> dict[str, Any]:
    return {
        "name": one.name,
        "audience": one.audience,
        "expirationSeconds": one.expiration_seconds,
        "mountPath": one.mount_path,
        "path": one.path,
        "env": one.env,
        "onRequest": one.on_request,
        "namespaces": list(one.namespaces.patterns),
        "namespaceLabels": dict(sorted(one.namespace_labels)),
        "serviceAccounts": list(one.service_accounts.patterns),
        "podLabels": dict(sorted(one.pod_labels)),
    }


def _override(one: Override) -> dict[str, Any]:
    return {
        "namespaces": list(one.namespaces),
        "namespaceLabels": dict(sorted(one.namespace_labels)),
        "mode": str(one.mode),
        "rules": {rule: str(action) for rule, action in one.rules.items()},
        "tokens": _tokens(one.tokens),
    }


def _exemption(one: Exemption) -> dict[str, Any]:
    return {
        "rules": ["*"] if one.rules == tuple(BY_NAME) else list(one.rules),
        "namespaces": list(one.namespaces.patterns),
        "serviceAccounts": list(one.service_accounts.patterns),
        "users": list(one.users.patterns),
        "reason": one.reason,
        "until": one.until or "never",
    }
