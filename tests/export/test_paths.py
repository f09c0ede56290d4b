"""The regular expressions for paths match what `webhook.core.paths` and the rules make of them."""

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from webhook.core.paths import clean_path, node_paths
from webhook.export import paths

PODS = "/var/lib/kubelet/pods"
PIECES = [
    "/",
    "//",
    "/./",
    "\\",
    "var",
    "VAR",
    "lib",
    "kubelet",
    "pods",
    "pods2",
    "run",
    "secrets",
    "c:",
    "D:",
    ". ",
    ".",
    " ",
]
SPELLINGS = st.builds(
    lambda pieces, path: "".join(pieces) + path,
    st.lists(st.sampled_from(PIECES), max_size=6),
    st.sampled_from(["", PODS, "/var/lib", "C:\\var\\lib\\kubelet", "/var/run/secrets/", "\\Var. \\run/secrets"]),
).filter(lambda path: path and ".." not in path)


def matches(patterns: tuple[str, ...], path: str) -> bool:
    return any(re.fullmatch(pattern, path, re.DOTALL) for pattern in patterns)


def is_exposed(path: str) -> bool:
    folders = {f"{node_path.rstrip('/')}/" for node_path in node_paths(path)}
    return any(node_path.startswith(f"{PODS}/") or f"{PODS}/".startswith(node_path) for node_path in folders)


@settings(max_examples=500)
@given(SPELLINGS)
@example("/")
@example(".")
@example("\\\\?\\C:\\var::$INDEX_ALLOCATION\\lib")
@example("\\\\localhost\\C$\\var\\lib")
def test_node_folder_matches_every_spelling(path: str) -> None:
    assert matches(paths.node_folder(PODS), path) == is_exposed(path)


@settings(max_examples=500)
@given(SPELLINGS, st.booleans())
def test_mount_path_matches_every_spelling(path: str, windows: bool) -> None:  # noqa: FBT001 - hypothesis
    same = clean_path(path, windows=windows) in {"/var/run/secrets", "c:/var/run/secrets"}
    on_windows = windows or matches((paths.WINDOWS_STYLE,), path)
    is_matched = matches((paths.mount_path("/var/run/secrets"),), path)
    assert (is_matched or (on_windows and matches((paths.windows_mount_path("/var/run/secrets"),), path))) == same
