"""A policy as the values of an equivalent document, with every default filled in."""

from typing import Any

from webhook.core.policy import schema
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import Injection, NamespacePolicy, Override, Policy
from webhook.core.rules import BY_NAME
from webhook.core.selectors import Labels


def policy_document(policy: Policy) -> dict[str, Any]:
    """Return the document of a policy."""
    return {
        "apiVersion": schema.API_VERSION,
        "kind": schema.KIND,
        **_settings(policy),
        "apiServerToken": {
            "expiration": "keep" if policy.api_server_token.keep else "cap",
            "audiences": list(policy.api_server_token.audiences),
        },
        "kubeletRootDirs": list(policy.kubelet_root_dirs),
        "messages": {"url": policy.messages.url, "contact": policy.messages.contact},
        "workloads": [
            {"apiGroup": group, "kind": kind, "template": template}
            for (group, kind), template in policy.workloads.items()
        ],
        "inject": list(map(_injection, policy.injections)),
        "overrides": [_override(override, policy) for override in policy.overrides],
        "exemptions": list(map(_exemption, policy.exemptions)),
    }


def namespace_document(policy: Policy, namespace: str, labels: Labels) -> dict[str, Any]:
    """Return the document that means the same for one namespace alone."""
    namespace_policy = policy.in_namespace(namespace, labels)
    return {
        **policy_document(policy),
        **_settings(namespace_policy),
        "inject": list(map(_injection, namespace_policy.injections)),
        "overrides": [],
        "exemptions": [
            _exemption(exemption) for exemption in policy.exemptions if exemption.applies_to_namespace(namespace)
        ],
    }


def _settings(source: Policy | NamespacePolicy | Override) -> dict[str, Any]:
    tokens, audiences = source.tokens, source.tokens.audiences
    return {
        "mode": str(source.mode),
        "rules": {rule: str(action) for rule, action in source.rules.items()},
        "tokens": {
            "maxExpirationSeconds": tokens.max_expiration_seconds,
            "maxRequestExpirationSeconds": tokens.max_request_expiration_seconds,
            "audiences": {
                "required": audiences.required,
                "default": audiences.default,
                "allowed": list(audiences.allowed.patterns),
            },
        },
    }


def _injection(injection: Injection) -> dict[str, Any]:
    return {
        "name": injection.name,
        "audience": injection.audience,
        "expirationSeconds": injection.expiration_seconds,
        "mountPath": injection.mount_path,
        "path": injection.path,
        "env": injection.env,
        "onRequest": injection.on_request,
        "namespaces": list(injection.namespaces.patterns),
        "namespaceLabels": dict(sorted(injection.namespace_labels)),
        "serviceAccounts": list(injection.service_accounts.patterns),
        "podLabels": dict(sorted(injection.pod_labels)),
    }


def _override(override: Override, policy: Policy) -> dict[str, Any]:
    """Return an override with its mode, and the rules and tokens that differ from the policy's own."""
    settings, own = _settings(override), _settings(policy)
    rules = {rule: action for rule, action in settings["rules"].items() if action != own["rules"][rule]}
    return {
        "namespaces": list(override.namespaces),
        "namespaceLabels": dict(sorted(override.namespace_labels)),
        "mode": settings["mode"],
        **({"rules": rules} if rules else {}),
        **({"tokens": settings["tokens"]} if settings["tokens"] != own["tokens"] else {}),
    }


def _exemption(exemption: Exemption) -> dict[str, Any]:
    return {
        "rules": ["*"] if exemption.rules == tuple(BY_NAME) else list(exemption.rules),
        "namespaces": list(exemption.namespaces.patterns),
        "serviceAccounts": list(exemption.service_accounts.patterns),
        "users": list(exemption.users.patterns),
        "reason": exemption.reason,
        "until": exemption.until or "never",
    }
