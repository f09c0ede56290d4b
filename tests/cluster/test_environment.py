"""Where the program runs, and in which namespace."""

import pytest

from webhook.cluster.environment import own_namespace


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"security", "security", id="pod"),
        pytest.param(b"security\n", "security", id="line"),
        pytest.param(b"", "tokenguard", id="empty"),
        pytest.param(b"\xff", "tokenguard", id="binary"),
        pytest.param(None, "tokenguard", id="no pod"),
    ],
)
def test_own_namespace_is_the_pods_or_the_default(tmp_path, content, expected) -> None:
    file = tmp_path / "namespace"
    if content is not None:
        file.write_bytes(content)
    assert own_namespace(file) == expected
