"""Findings that are of no rule: about a value of a wrong type, and about an invalid policy."""

from collections.abc import Mapping

from webhook.core.decision import INVALID_POLICY

UNREADABLE_OBJECT = "unreadable-object"
"""The rule name of a finding about a value of a wrong type, in an object that rules evaluate."""
POLICY_HELP = "correct it, then run: tokenguard policy validate FILE"
"""What to do about an invalid policy among the manifests."""

EXPLANATIONS: Mapping[str, tuple[str, str]] = {
    UNREADABLE_OBJECT: (
        "a value of an object has a wrong type",
        """\
The object is of a kind that rules evaluate, but a field that they read has another type than Kubernetes defines. It
cannot be evaluated, and the API server would refuse it, too.""",
    ),
    INVALID_POLICY: (
        "a policy is invalid",
        """\
The ConfigMap has the label tokenguard/policy, so its key policy.yaml must contain a valid policy. The webhook denies
the ConfigMap if this key contains anything else; `tokenguard policy validate` shows all errors.""",
    ),
}
"""When there is such a finding, and what to know about it."""
