"""The API server's answer to the dry run of a creation."""

from typing import NamedTuple


class DryRunAnswer(NamedTuple):
    """Its HTTP status, the message if it is a refusal, and the warnings."""

    status: int
    message: str
    warnings: tuple[str, ...] = ()
