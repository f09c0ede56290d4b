"""Finds running pods that the policy would deny as they are, and concludes how they were admitted.

A pod does not say whether it was evaluated. But with few exceptions a pod that was evaluated under the policy in force
has been patched, and a pod that the policy denies does not exist. So a running pod that `/validate` would deny as it is
was admitted without evaluation, if it is newer than the webhook configuration and the policy, or if it is older than
the webhook configuration. The rest is undetermined: it may have been evaluated under an earlier policy.
"""

import datetime as dt
from collections.abc import Mapping
from typing import NamedTuple

from webhook.core.k8s_names import is_dns_subdomain
from webhook.core.policy.model import Policy
from webhook.core.selectors import Labels
from webhook.core.webhook_namespaces import WebhookScopes
from webhook.scan.api_types import LivePod
from webhook.scan.evaluation_result import Admission, ReportedFinding
from webhook.scan.owners import OwnerKey

SETTLING = dt.timedelta(seconds=10)
"""Until all API servers call a new webhook, and all replicas have a new policy."""
RESTORE_HINT = "first create the webhook configuration again, see 'tokenguard status'; then "
REPAIR_HINT = "first repair tokenguard, see 'tokenguard status': the API server cannot call it"
INCLUDE_HINT = "nothing; or include the namespace in the webhook configuration, and scan again"
_RESTARTED = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
_REFERENCE = "legacy-token-reference"


class AdmissionHistory(NamedTuple):
    """When the validating webhook configuration was created, when the policy last changed, and what it excludes.

    None: it does not exist, or that is not known. `is_known` is False if the configuration could not be read.
    Without a `caBundle` the API server cannot call a webhook: a pod that is deleted may not come back.
    """

    webhook_created: dt.datetime | None = None
    policy_changed: dt.datetime | None = None
    scopes: WebhookScopes = WebhookScopes()
    is_known: bool = False
    lacks_ca_bundle: bool = False

    @property
    def webhook_exists(self) -> bool | None:
        """Whether the validating webhook configuration exists; None if it could not be read."""
        return self.webhook_created is not None if self.is_known else None

    @property
    def is_installed(self) -> bool:
        """Whether the webhook configuration or the policy exists; False if the configuration could not be read."""
        return self.is_known and (self.webhook_created is not None or self.policy_changed is not None)


class AdmissionClassifier:
    """Concludes how pods were admitted that the policy would deny as they are."""

    def __init__(
        self,
        policy: Policy,
        history: AdmissionHistory,
        secrets: Mapping[tuple[str, str], dt.datetime | None],
        namespaces: Mapping[str, Labels],
    ) -> None:
        """`secrets` are the legacy Secrets by namespace and name, each with when it was created.

        `namespaces` are the labels of each.
        """
        self._namespaces = namespaces
        self._by_user = [exemption for exemption in policy.exemptions if exemption.users]
        self._history = history
        self._secrets = secrets

    def classify(
        self, pod: LivePod, account: str, findings: tuple[ReportedFinding, ...], references: frozenset[str]
    ) -> Admission:
        """Return how a pod was admitted that the findings deny; `references` are the legacy Secrets that it names."""
        webhook, policy, scopes, *_ = self._history
        created, namespace = pod.created, pod.metadata.namespace or ""
        if created is None:
            return Admission.UNDETERMINED
        if scopes.pods.excludes(namespace, self._namespaces.get(namespace, frozenset())):
            return Admission.EXCLUDED
        if webhook is not None and created < webhook:
            return Admission.BEFORE_INSTALLATION
        if policy is None or created < max(policy, webhook or policy) + SETTLING:
            return Admission.UNDETERMINED
        was_exempt = all(self._may_be_exempt(finding.rule, namespace, account, created) for finding in findings)
        if was_exempt or self._has_newer_secrets(namespace, created, findings, references):
            return Admission.UNDETERMINED
        return Admission.NOT_EVALUATED

    def _may_be_exempt(self, rule: str, namespace: str, account: str, created: dt.datetime) -> bool:
        """Return whether an exemption by `users` may have covered the pod: nobody knows who created it."""
        return any(
            rule in exemption.rules
            and exemption.is_active(created)
            and exemption.applies_to_namespace(namespace)
            and exemption.applies_to_account(namespace, account)
            for exemption in self._by_user
        )

    def _has_newer_secrets(
        self, namespace: str, created: dt.datetime, findings: tuple[ReportedFinding, ...], references: frozenset[str]
    ) -> bool:
        """Return whether a legacy Secret that the pod is denied for may not have existed when it was admitted."""
        if any(finding.rule != _REFERENCE for finding in findings):
            return False
        times = (self._secrets.get((namespace, name)) for name in references)
        return any(time is None or time >= created for time in times)


def recreate_hint(owner: OwnerKey, pod: str, denied_by: str) -> str:
    """Return what to do about a pod of an owner; `denied_by` is a rule that denies the next one, empty: none does."""
    where = f"-n {_word(owner.namespace)}"
    delete = f"kubectl delete pod {_word(pod)} {where}"
    if owner.kind == "Pod" and not owner.group:
        fix = f"first correct it, as it would be denied by {denied_by}; then " if denied_by else ""
        return f"{fix}delete it and create it again: {delete}"
    title = f"{owner.kind}/{owner.name}"
    fix = f"first correct {title}, whose next pod would be denied by {denied_by}; then " if denied_by else ""
    if owner.group == "apps" and owner.kind in _RESTARTED:
        return f"{fix}kubectl rollout restart {owner.kind.lower()}/{_word(owner.name)} {where}"
    return f"{fix}{delete}"


def _word(name: str) -> str:
    """Return a name for a command line: any that Kubernetes allows."""
    return name if is_dns_subdomain(name) else "NAME"
