"""The decision about a policy's ConfigMap before it is stored. The policy in force has no influence on it."""

import datetime as dt

from msgspec import UNSET

from webhook.core.decision import INVALID, Coverage, Decision, Outcome
from webhook.core.policy.configmap import KEY, LABEL, PolicyConfigMap
from webhook.core.policy.errors import PolicyError
from webhook.core.policy.loader import lint_policy
from webhook.core.policy.model import Policy

_MAX_COMPARED = 1000
"""How many entries and patterns are compared with one another; `tokenguard policy validate` compares any number."""
_INSTALLED = "token-policy"
_NO_KEY = PolicyError("data", 0, f"has no key {KEY}; add the policy there, or remove the label {LABEL} first")
_BINARY = PolicyError(f"binaryData[{KEY}]", 0, "is not read; put the policy under data, as UTF-8 text")


def error_location(error: PolicyError) -> tuple[str, str]:
    """Return the field of the ConfigMap in Kubernetes' notation, and the message about it."""
    return (f"data[{KEY}]", str(error)) if error.line else (error.path, error.message)


def decide(
    configmap: PolicyConfigMap, old: PolicyConfigMap | None, now: dt.datetime, *, in_own_namespace: bool
) -> Decision:
    """Return the decision about a ConfigMap: denied if it is a policy's and has no valid policy.

    It is a policy's if it has the label, had it before the update (`old`), so that label and valid policy cannot be
    removed at once, or has the name that the manifests give it. A valid policy can thus always replace an invalid one.
    What has no effect in a valid policy at the time `now` (aware) is a warning.
    """
    is_installed = in_own_namespace and configmap.metadata.name == _INSTALLED
    if not (is_installed or configmap.is_labelled or (old is not None and old.is_labelled)):
        note = f"a ConfigMap without the label {LABEL}"
        return Decision(Outcome.ALLOWED, note=note, coverage=Coverage.NOT_EVALUATED)
    document = configmap.data.document if configmap.data else None
    if document is None:
        is_binary = configmap.binary_data is not None and configmap.binary_data.document is not UNSET
        return Decision(Outcome.DENIED, policy_errors=(_BINARY if is_binary else _NO_KEY,), status=INVALID)
    policy, warnings = lint_policy(document.encode(), now, _MAX_COMPARED)
    if isinstance(policy, Policy):
        return Decision(Outcome.ALLOWED, note=f"valid (revision {policy.revision})", policy_warnings=warnings)
    return Decision(Outcome.DENIED, policy_errors=policy, status=INVALID)
