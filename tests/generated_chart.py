"""The generated files of charts/tokenguard: objects, by kustomize, and the schema of the values. `make chart`."""

import json
import re
import subprocess
from typing import Any

import yaml

from tests.manifests.rendering import CHECKOUT, find_kubectl
from webhook.core.policy.schema import json_schema

CHART = CHECKOUT / "charts/tokenguard"
SOURCES = {
    "self-managed": "manifests",
    "cert-manager": "manifests/overlays/cert-manager",
    "by-hand": "manifests/overlays/by-hand",
    "monitoring": "manifests/overlays/monitoring",
    "scanner": "manifests/scanner",
    "retire": "manifests/retire",
    "background-scan": "manifests/components/background-scan",
    "probe": "manifests/probe",
    "backstop": "manifests/components/backstop/rights",
}
"""The kustomization of each file in files/; the first three are the values of `certificates.mode`."""


def values_schema() -> dict[str, Any]:
    """Return the schema of the values, with the policy's own, whose apiVersion and kind the chart adds."""
    schema: dict[str, Any] = yaml.safe_load((CHECKOUT / "charts/values.schema.yaml").read_text())
    left_out = {"$schema", "required", "$defs"}
    policy = _without_lookaround(json_schema())
    schema["$defs"] |= policy.get("$defs", {})
    schema["properties"]["policy"] = {key: value for key, value in policy.items() if key not in left_out}
    return schema


def _without_lookaround(schema: Any) -> Any:
    """Return a schema without the patterns that Go's regular expressions, and so Helm, cannot read."""
    if isinstance(schema, list):
        return [_without_lookaround(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    unreadable = isinstance(schema.get("pattern"), str) and re.search(r"\(\?<?[=!]", schema["pattern"])
    return {key: _without_lookaround(value) for key, value in schema.items() if not (unreadable and key == "pattern")}


def write() -> None:
    """Write all files."""
    (CHART / "files").mkdir(exist_ok=True)
    for name, folder in SOURCES.items():
        rendered = subprocess.run(
            [find_kubectl() or "kubectl", "kustomize", folder],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        head = f"# Generated from {folder} by 'make chart'. Do not edit.\n"
        (CHART / "files" / f"{name}.yaml").write_text(head + rendered)
    (CHART / "values.schema.json").write_text(json.dumps(values_schema(), indent=1) + "\n")


if __name__ == "__main__":
    write()
