"""Every patch, applied by kubectl, leaves its workload without a finding, and otherwise as it was."""

import json
import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml

from tests.commands import run_command
from tests.migrate.planning import planned
from tests.migrate.workloads import generated, golden, legacy_secret, recorded, workload
from webhook.core.json_patch import assemble, prefix_edits
from webhook.migrate.patches import json_patch

KUBECTL = shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="needs kubectl for 'kubectl kustomize'")
LEFT_TO_PEOPLE = {
    "a field that reads only other keys than the token says so": 1,
    "a pod that was there before can still be debugged": 1,
    "an exemption for both accounts covers another account's token": 1,
    "an exemption for the pod's account covers its own token, and no other account's": 4,
    "an exemption for the pod's account covers no other account's token in an ephemeral container": 1,
    "an exemption that names no account covers every account's token": 1,
    "each finding is under the first exemption for its accounts": 1,
    "more than ten findings are listed as ten and how many more": 12,
    "one exemption must be for both accounts, two exemptions for one each don't add up": 1,
    "patch rejects another account's token, a mode for the token file alone, and what is no plain volume": 2,
    "volumes of every kind, mounted or not, optional or not": 9,
}
"""How many references of a golden case no patch can replace: of other accounts, to other keys, to volume drivers."""
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MERGE_KEYS = ("mountPath", "name")
Object = dict[str, Any]


def documents(objects: list[Object]) -> str:
    """Return objects as YAML; JSON is much faster to write and to read."""
    return "".join(f"---\n{json.dumps(obj, ensure_ascii=False)}\n" for obj in objects)


def apply_patches(folder: Path, objects: list[Object]) -> list[Object]:
    """Run `migrate` on objects, and apply its components by kustomize."""
    (folder / "objects.yaml").write_text(documents(objects))
    done = run_command("migrate", str(folder / "objects.yaml"), "--output-dir", str(folder / "migration"))
    assert done.returncode == 1, done.stderr
    components = [
        f"migration/{kustomization.parent.name}"
        for kustomization in (folder / "migration").glob("*/kustomization.yaml")
    ]
    (folder / "kustomization.yaml").write_text(json.dumps({"resources": ["objects.yaml"], "components": components}))
    built = subprocess.run([str(KUBECTL), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return list(yaml.load_all(built.stdout, Loader))


def findings(folder: Path, objects: list[Object]) -> list[Object]:
    """Return the findings of `check` about everything but the Secrets."""
    (folder / "checked.yaml").write_text(documents(objects))
    done = run_command("check", str(folder / "checked.yaml"), "--output", "json")
    return [finding for finding in json.loads(done.stdout)["findings"] if finding["rule"] != "legacy-token-secret"]


def merged(value: Any) -> Any:
    """Return a value in which the lists that kustomize merges are in order."""
    if isinstance(value, dict):
        return {key: merged(member) for key, member in value.items()}
    if not isinstance(value, list):
        return value
    key = next(
        (key for key in MERGE_KEYS if value and all(isinstance(item, dict) and key in item for item in value)), ""
    )
    members = [merged(member) for member in value]
    return sorted(members, key=lambda member: str(member[key])) if key else members


@needs_kubectl
def test_generated_workloads_have_no_finding_when_patched(tmp_path) -> None:
    before = [legacy_secret("app-token"), *generated(random.Random(18), 120)]
    assert Counter(finding["rule"] for finding in findings(tmp_path, before))["legacy-token-reference"] > 500
    after = apply_patches(tmp_path, before)
    assert len(after) == len(before)
    assert findings(tmp_path, after) == []


@needs_kubectl
def test_patched_workloads_are_otherwise_unchanged(tmp_path) -> None:
    before = generated(random.Random(19), 64)
    after = {
        (obj["kind"], obj["metadata"]["name"]): obj
        for obj in apply_patches(tmp_path, [legacy_secret("app-token"), *before])
    }
    for obj in before:
        plan, pointer = planned(obj, {"app-token": "app"})
        expected = jsonpatch.apply_patch(obj, assemble(prefix_edits(pointer, plan.edits)))
        assert merged(after[obj["kind"], obj["metadata"]["name"]]) == merged(expected)


@needs_kubectl
def test_golden_cases_have_no_finding_when_patched(tmp_path) -> None:
    cases = golden("legacy-token-reference")
    names = {objects[-1]["metadata"]["namespace"]: name for name, objects in cases.items()}
    before = [obj for objects in cases.values() for obj in objects]
    left = findings(tmp_path, apply_patches(tmp_path, before))
    assert Counter(names[finding["namespace"]] for finding in left) == LEFT_TO_PEOPLE
    assert {finding["rule"] for finding in left} == {"legacy-token-reference"}


@needs_kubectl
def test_recorded_workloads_have_no_finding_when_patched(tmp_path) -> None:
    secrets = [legacy_secret("app-token", namespace="recorded")]
    before = [*secrets, *recorded()]
    other = {(finding["name"], finding["rule"]) for finding in findings(tmp_path, before)}
    assert sum(rule == "legacy-token-reference" for _, rule in other) > 8
    after = {(finding["name"], finding["rule"]) for finding in findings(tmp_path, apply_patches(tmp_path, before))}
    left = {name.rpartition("-")[0] for name, rule in after if rule == "legacy-token-reference"}
    assert left == {"pod-legacy-other-account"}
    assert after <= other


def test_json_patch_fails_if_an_element_has_moved() -> None:
    spec = {"volumes": [{"name": "a", "secret": {"secretName": "app-token"}}], "serviceAccountName": "app"}
    rollout = workload("Rollout", "web", spec)
    plan, pointer = planned(rollout, {"app-token": "app"})
    patch = json_patch(rollout, prefix_edits(pointer, plan.edits))
    assert "projected" in jsonpatch.apply_patch(rollout, patch)["spec"]["template"]["spec"]["volumes"][0]
    rollout["spec"]["template"]["spec"]["volumes"].insert(0, {"name": "other", "emptyDir": {}})
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(rollout, patch)
