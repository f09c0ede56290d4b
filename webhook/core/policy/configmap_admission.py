"""A policy before it is stored: the ConfigMap that is to hold it, judged by nothing but itself."""

from msgspec import UNSET

from webhook.core.decision import INVALID, Coverage, Decision, Outcome
from webhook.core.policy.configmap import KEY, LABEL, ConfigMap
from webhook.core.policy.errors import PolicyError
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy

_INSTALLED = "token-policy"
_NO_KEY = PolicyError("data", 0, f"has no key {KEY}: put the policy there, or first take the label {LABEL} away")
_BINARY = PolicyError(f"binaryData[{KEY}]", 0, "is not read: put the policy under data, as text in UTF-8")


def error_location(error: PolicyError) -> tuple[str, str]:
    """Return where in the ConfigMap a mistake stands, as Kubernetes writes it, and all the rest that is to be said."""
    return (f"data[{KEY}]", str(error)) if error.line else (error.path, error.message)


def decide(found: ConfigMap, old: ConfigMap | None, *, in_own_namespace: bool) -> Decision:
    """Return the decision about a ConfigMap: denied where it is a policy's, but holds no sound one.

    It is a policy's by its label, by the one that it had (`old`, where it is changed: so no label is lost together with
    a sound policy), or by the place that the manifests give it. The decision is the same whatever policy is in force,
    or none; so a good one can always be put in the place of a bad one.
    """
    is_installed = in_own_namespace and found.metadata.name == _INSTALLED
    if not (is_installed or found.is_labelled or (old is not None and old.is_labelled)):
        note = f"a ConfigMap without the label {LABEL}"
        return Decision(Outcome.ALLOWED, note=note, coverage=Coverage.NOT_EVALUATED)
    document = found.data.document if found.data else None
    if document is None:
        binary = found.binary_data is not None and found.binary_data.document is not UNSET
        return Decision(Outcome.DENIED, policy_errors=(_BINARY if binary else _NO_KEY,), status=INVALID)
    policy = read_policy(document.encode())
    if isinstance(policy, Policy):
        return Decision(Outcome.ALLOWED, note=f"holds the sound policy {policy.revision}")
    return Decision(Outcome.DENIED, policy_errors=policy, status=INVALID)
