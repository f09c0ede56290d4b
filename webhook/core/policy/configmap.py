"""The parts of a ConfigMap that make it a policy's: its label, and the key that contains the document."""

import msgspec

from webhook.core.k8s_types import Object, ObjectIdentity

LABEL = "tokenguard/policy"
KEY = "policy.yaml"


class _Labels(Object, frozen=True):
    """The label that makes a ConfigMap a policy's."""

    policy: str | None = msgspec.field(default=None, name=LABEL)


class _Meta(ObjectIdentity, frozen=True):
    """The metadata of a ConfigMap without its annotations, which may repeat the whole object."""

    labels: _Labels | None = None


class _Data(Object, frozen=True):
    """The key that contains the policy."""

    document: str | None = msgspec.field(default=None, name=KEY)


class _BinaryData(Object, frozen=True):
    """The same key as binary data, whose content is not read."""

    document: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name=KEY)


class PolicyConfigMap(Object, frozen=True):
    """A ConfigMap that may contain a policy."""

    given_metadata: _Meta | None = msgspec.field(default=None, name="metadata")
    data: _Data | None = None
    binary_data: _BinaryData | None = None

    @property
    def metadata(self) -> _Meta:
        """Its name and its label."""
        return self.given_metadata or _Meta()

    @property
    def is_labelled(self) -> bool:
        """Whether it has the label of a policy."""
        labels = self.metadata.labels
        return labels is not None and labels.policy == "true"
