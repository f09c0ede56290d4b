"""Custom kinds of a control plane."""

from typing import Any


def definition(group: str, kind: str, versions: tuple[str, ...]) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind, served in these versions; objects may have any fields."""
    plural = f"{kind.lower()}s"
    free = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [
                {"name": version, "served": True, "storage": version == versions[0], "schema": free}
                for version in versions
            ],
        },
    }
