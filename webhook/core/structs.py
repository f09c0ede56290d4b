"""Bases of the structs that decisions are made of.

A compiled module (see `webhook.compiled`) ignores the keywords of its classes (`frozen=True`), but its structs inherit
what these bases set. So a struct of a compiled module derives from one of them, and repeats the keywords for the type
checker. The garbage collector ignores them: none is part of a cycle.
"""

import msgspec


class FrozenStruct(msgspec.Struct, frozen=True, gc=False):
    """An immutable value."""


class MutableStruct(msgspec.Struct, gc=False):
    """A struct that is completed after it is created."""
