"""Warnings about kustomizations that make other objects than the files contain."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.check.runs import SEED_POD, checked_paths
from webhook.check.report import CheckReport

PATCHED = "patches: [{patch: x}]\n"
UNEVALUATED = "the files are evaluated without that; check the result"


def checked_kustomizations(folder: Path, kustomizations: Mapping[str, str]) -> CheckReport:
    """Return the report about folders with these kustomizations and a pod."""
    for name, text in kustomizations.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "pod.yaml").write_text(SEED_POD)
        (folder / name / "kustomization.yaml").write_text(f"resources: [pod.yaml, https://example.com/x]\n{text}")
    return checked_paths(folder)


@pytest.mark.parametrize(
    ("kustomizations", "builds"),
    [
        pytest.param({"a": PATCHED, "b": "namePrefix: x-\n", "c": ""}, ["a", "b"], id="independent ones"),
        pytest.param({"a": PATCHED, "b": "bases: [../a]\n"}, ["b"], id="included by one without changes"),
        pytest.param({"a": "", "b": "bases: [../a/]\n"}, [], id="no changes"),
        pytest.param({"a": PATCHED, "b": "bases: [../a]\n", "c": "components: [../b]\n"}, ["c"], id="a chain"),
        pytest.param({"a": f"{PATCHED}components: [../b]\n", "b": "bases: [../a, ../b]\n"}, [], id="a cycle"),
        pytest.param({"a": PATCHED, "b": "bases: [../missing, 5]\n", "c": "bases: 5\n"}, ["a"], id="invalid entries"),
    ],
)
def test_warnings_name_the_kustomizations_to_build(
    kustomizations: Mapping[str, str], builds: list[str], tmp_path: Path
) -> None:
    warnings = checked_kustomizations(tmp_path, kustomizations).warnings
    assert [warning.path for warning in warnings] == [str(tmp_path / name / "kustomization.yaml") for name in builds]
    for name, warning in zip(builds, warnings, strict=True):
        assert warning.message.endswith(f"; {UNEVALUATED}: kustomize build {tmp_path / name} | tokenguard check -")


def test_warning_says_which_keys_change_objects(tmp_path: Path) -> None:
    keys = "namespace: shop\nsecretGenerator: [{name: s}]\n"
    report = checked_kustomizations(tmp_path, {"a": keys, "b": "bases: [../a]\n"})
    [warning] = report.warnings
    assert warning.message.startswith("includes kustomizations that change or add objects; ")
    notes = {Path(each.problem.path).parent.name: each.problem.message for each in report.not_evaluated}
    assert notes["a"] == "is a file of kustomize; changes or adds objects (namespace, secretGenerator)"
    assert notes["b"].endswith(f"; check the result: kustomize build {tmp_path}/b | tokenguard check -")


@pytest.mark.parametrize(("count", "more"), [(6, ""), (22, " and 2 more, which -v lists")])
def test_many_kustomizations_are_one_warning_with_their_folders(count: int, more: str, tmp_path: Path) -> None:
    names = [f"k{number:02}" for number in range(count)]
    report = checked_kustomizations(tmp_path, dict.fromkeys(names, PATCHED))
    [warning] = report.warnings
    folders = ", ".join(str(tmp_path / name) for name in names[:20])
    assert warning.message == (
        f"changes or adds objects (patches), like {count - 1} other kustomizations; {UNEVALUATED} of each:"
        f" kustomize build FOLDER | tokenguard check -; the folders: {folders}{more}"
    )
    listed = [each for each in report.not_evaluated if "kustomize build" in each.problem.message]
    assert len(listed) == count


def test_folder_with_only_a_kustomization_says_how_to_check_it(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [../base]\n")
    [problem] = checked_paths(tmp_path).problems
    build = f"to check a kustomization: kustomize build {tmp_path} | tokenguard check -"
    assert problem.message == f"contains no Kubernetes manifest; {build}"
