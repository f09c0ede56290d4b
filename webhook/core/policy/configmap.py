"""A ConfigMap, cut down to what makes it the policy's: its label, and the one key that holds the document."""

import msgspec

from webhook.core.k8s_types import Object, ObjectIdentity

LABEL = "tokenguard/policy"
KEY = "policy.yaml"


class _Labels(Object, frozen=True):
    """The one label that makes a ConfigMap the policy's."""

    policy: str | None = msgspec.field(default=None, name=LABEL)


class _Meta(ObjectIdentity, frozen=True):
    """The metadata of a ConfigMap; its annotations, which may quote all of it again, are left unread."""

    labels: _Labels | None = None


class _Data(Object, frozen=True):
    """The one key of a ConfigMap that holds a policy."""

    document: str | None = msgspec.field(default=None, name=KEY)


class _BinaryData(Object, frozen=True):
    """The same key where it is no text: that it is there, not what it says."""

    document: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name=KEY)


class ConfigMap(Object, frozen=True):
    """A ConfigMap, as far as it can hold a policy."""

    given_metadata: _Meta | None = msgspec.field(default=None, name="metadata")
    data: _Data | None = None
    binary_data: _BinaryData | None = None

    @property
    def metadata(self) -> _Meta:
        """Its name, and whether it is the policy's."""
        return self.given_metadata or _Meta()

    @property
    def is_labelled(self) -> bool:
        """Whether it has the label that makes it a policy's."""
        labels = self.metadata.labels
        return labels is not None and labels.policy == "true"
