"""token-expiration: a projected token lives no longer than the policy's maximum."""

from collections.abc import Iterator

from webhook.core import lifetimes
from webhook.core.account_views import CSIDriverView
from webhook.core.decision import MountedToken, Violation
from webhook.core.patch import Put
from webhook.core.policy.model import Action
from webhook.core.request import Subject
from webhook.core.rule import PODS, Rule
from webhook.core.views import PodView


def check(pod: PodView) -> Iterator[Violation]:
    """Find the tokens that may live longer than the maximum."""
    maximum = pod.here.tokens.max_expiration_seconds
    for token in pod.tokens:
        asked = token.projection.expiration_seconds
        if token.api_server_own and pod.here.api_server_token.keep and asked == lifetimes.MAGIC_EXPIRATION:
            continue
        for_api_server = pod.for_api_server(token.projection.audience)
        lifetime = lifetimes.projected(asked, for_api_server=for_api_server)
        if lifetime <= maximum:
            continue
        cap = lifetimes.capped(maximum, asked, for_api_server=for_api_server)
        yield Violation(
            token.pointer,
            f"lives {lifetime} seconds{_year(asked, lifetime)}, more than the maximum of {maximum}",
            advice=f"set expirationSeconds to at most {cap}",
            fix=(Put(f"{token.pointer}/serviceAccountToken/expirationSeconds", cap, replaces=asked is not None),),
            fixed=f"capped to {cap}",
            authored=not token.api_server_own,
            token=MountedToken("" if for_api_server else token.projection.audience or "", lifetime),
        )


def check_csi_driver(view: CSIDriverView) -> Iterator[Violation]:
    """Find the tokens of a CSI driver that may live longer than the maximum."""
    maximum = view.policy.tokens.max_expiration_seconds
    for number, request in enumerate(view.driver.token_requests):
        asked, audience = request.expiration_seconds, request.audience
        for_api_server = not audience or audience in view.api_audiences
        lifetime = lifetimes.projected(asked, for_api_server=for_api_server)
        if lifetime > maximum:
            cap = lifetimes.capped(maximum, asked, for_api_server=for_api_server)
            yield Violation(
                f"/spec/tokenRequests/{number}",
                f"lives {lifetime} seconds{_year(asked, lifetime)}, more than the maximum of {maximum}",
                advice=f"set expirationSeconds to at most {cap}",
            )


def _year(asked: int | None, lifetime: int) -> str:
    return " (3607 for the API server means a year)" if lifetime != (asked or lifetime) else ""


RULE = Rule(
    name="token-expiration",
    summary="a projected token may live longer than tokens.maxExpirationSeconds",
    explanation="""\
A token that leaks is worth as much as it has left to live. Pods lose nothing by short ones: the kubelet puts a fresh
token into the file at 80 % of its lifetime, and clients that read the file anew go on working.

3607 seconds for the API server alone is a special number: Kubernetes signs such a token for a whole year, so that
old clients, which read their token once, keep working. The token that every pod gets by default is of that kind.
It is capped to the lesser of the maximum and 3600 seconds; `apiServerToken.expiration: keep` leaves it alone.

What to do: set `expirationSeconds` to at most the maximum, and read the token's file again before it ends.

A CSIDriver's `tokenRequests` are tokens of the same kind: the kubelet passes them to the driver, for every pod that
mounts one of its volumes. No webhook is asked about them; `check` and `scan` warn of them.""",
    looks_at=PODS | {Subject.CSI_DRIVER},
    default=Action.PATCH,
    may_also=(Action.REJECT,),
    check=check,
    other_checks={Subject.CSI_DRIVER: check_csi_driver},
)
