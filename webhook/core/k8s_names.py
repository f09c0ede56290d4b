"""Which strings Kubernetes accepts as names. Any other belongs to no real object: it is never stored or sent on.

Sources: RFC 1123, and k8s.io/apimachinery `pkg/util/validation` and `pkg/api/validation`.
"""

import re

MAX_LABEL = 63
"""The most characters of a DNS label: a Namespace, a resource, an API version, a kind."""
MAX_SUBDOMAIN = 253
"""The most characters of a DNS subdomain: the names of most objects, an API group."""
MAX_USER_NAME = 512
"""Kubernetes sets no limit. A ServiceAccount's user name has at most 339 characters, an X.509 common name 64."""

OPERATIONS = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})
"""All that an admission review can be about (k8s.io/api, admission/v1)."""

DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
"""A Namespace's name."""
_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_KIND = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_RESOURCE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}(?:/[a-z0-9][a-z0-9-]{0,62})?")


def is_dns_label(text: str) -> bool:
    """Return whether `text` can be the name of a Namespace."""
    return DNS_LABEL.fullmatch(text) is not None


def is_dns_subdomain(text: str) -> bool:
    """Return whether `text` can be the name of an object."""
    return _SUBDOMAIN.fullmatch(text) is not None


def is_kind(text: str) -> bool:
    """Return whether `text` can be a kind: a DNS label in any case."""
    return _KIND.fullmatch(text) is not None


def is_api_version(text: str) -> bool:
    """Return whether `text` can be an apiVersion: `version` or `group/version`."""
    group, separator, version = text.rpartition("/")
    return is_dns_label(version) and (is_dns_subdomain(group) if separator else True)


def is_uid(text: str) -> bool:
    """Return whether `text` can be the uid of an object or of a review. The API server makes UUIDs."""
    return _UID.fullmatch(text) is not None


def is_resource(text: str) -> bool:
    """Return whether `text` can be a resource with its subresource: `pods/ephemeralcontainers`."""
    return _RESOURCE.fullmatch(text) is not None
