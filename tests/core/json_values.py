"""Hypothesis strategies of JSON values."""

from hypothesis import strategies as st

LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
