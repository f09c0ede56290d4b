"""By which names the API server is taken to be an audience, and how that is known.

The webhook reads them from its own token, which a scan doesn't have; a token for one of them, whatever the other names,
is for the API server.
"""

from dataclasses import dataclass

from webhook.core.policy.model import Policy
from webhook.core.text import Word


class AudienceSource(Word):
    """Where they are from: the surest first."""

    POLICY = "policy"
    GIVEN = "given"
    TOKEN = "token"  # noqa: S105 - a word
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True)
class ApiAudiences:
    """The API server's audiences, and where they are from.

    `source` is the policy (its apiServerToken.audiences), what was given with the call, the service account token that
    the scan was made with, or else they are assumed: the issuer, as the API server tells it, and the usual ones.
    """

    names: tuple[str, ...]
    source: AudienceSource


def under(policy: Policy, known: ApiAudiences) -> ApiAudiences:
    """Return those that a policy is judged with: its own, or else those that are known of the cluster."""
    own = policy.api_server_token.audiences
    return ApiAudiences(own, AudienceSource.POLICY) if own else known
