"""The end-to-end cases in a cluster with nodes, the image and tokenguard's own pods. See `make e2e`."""

from tests.end_to_end.cases import *  # noqa: F403 - every case is a test of this module
