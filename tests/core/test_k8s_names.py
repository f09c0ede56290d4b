"""Which strings Kubernetes accepts as names."""

import pytest

from webhook.core import k8s_names

LABEL_63 = "a" * 63
SUBDOMAIN_253 = f"{LABEL_63}.{LABEL_63}.{LABEL_63}.{'a' * 61}"
NEVER = ("", "a b", "a\n", "a/../b", "a?b=c", "a#b", "a%2fb", "..", "ä", "a\u2028", "-a", "a_b!")


@pytest.mark.parametrize(
    ("is_valid", "valid", "invalid"),
    [
        (k8s_names.is_dns_label, ("a", "0", "a-b", LABEL_63), ("A", "a.b", "a-", "a" * 64)),
        (k8s_names.is_dns_subdomain, ("a", "a.b-c.d", SUBDOMAIN_253, "a" * 253), ("A", "a..b", "a.-b", "a" * 254)),
        (k8s_names.is_kind, ("Pod", "ReplicaSet", "K" * 63), ("K" * 64, "1Pod", "Pod-", "Pod.v1")),
        (k8s_names.is_api_version, ("v1", "apps/v1", "a.b.example/v1beta1"), ("/v1", "apps/", "a/b/v1", "apps/V1")),
        (k8s_names.is_uid, ("7ceb3af7-9b31-4f27-8aa7-7ac1b38c22ab", "u" * 128), ("u" * 129, "u]", "[u")),
        (k8s_names.is_resource, ("pods", "pods/ephemeralcontainers"), ("Pods", "pods/a/b", "pods/", "p" * 64)),
    ],
    ids=["label", "subdomain", "kind", "apiVersion", "uid", "resource"],
)  # fmt: skip
def test_names_are_valid_as_in_kubernetes(is_valid, valid, invalid) -> None:
    assert [name for name in valid if not is_valid(name)] == []
    assert [name for name in (*invalid, *NEVER) if is_valid(name)] == []
