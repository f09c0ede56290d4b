"""What tokenguard does in a cluster, seen through kubectl: the same cases for a bare control plane and for kind."""

import pytest

# so that a failure says what it saw, as in a test's own module
pytest.register_assert_rewrite("tests.end_to_end.cases", "tests.end_to_end.cluster")
