"""The API server's audiences in a scan.

The webhook reads them from its own token, which a scan doesn't have. A token for one of them is for the API server.
"""

from typing import Annotated

from msgspec import Meta, Struct

from webhook.core.formatting import Word
from webhook.core.policy.model import Policy


class AudienceSource(Word):
    """Where the audiences are from, the most reliable first."""

    POLICY = "policy"
    GIVEN = "given"
    TOKEN = "token"  # noqa: S105 - a word
    ASSUMED = "assumed"


class ApiAudiences(Struct, frozen=True, gc=False, rename="camel"):
    """The API server's audiences."""

    names: Annotated[tuple[str, ...], Meta(description="The audiences.")]
    source: Annotated[
        AudienceSource,
        Meta(
            description="The policy, the command line, the token that the scan was made with, or assumed: the API"
            " server's issuer and the usual audiences."
        ),
    ]


def effective_audiences(policy: Policy, known: ApiAudiences) -> ApiAudiences:
    """Return the policy's own audiences, or else the known ones."""
    own = policy.api_server_token.audiences
    return ApiAudiences(own, AudienceSource.POLICY) if own else known
