"""token-expiration: a projected token is valid no longer than the policy's maximum."""

from collections.abc import Iterator
from functools import lru_cache

from webhook.core import lifetimes
from webhook.core.decision import MountedToken, Violation
from webhook.core.json_patch import Put
from webhook.core.kinds import Subject
from webhook.core.pod_context import PodContext
from webhook.core.policy.model import Action
from webhook.core.rule import PODS, Rule
from webhook.core.token_context import CSIDriverContext

EXCEEDS = "has lifetime {lifetime}s{year}, exceeding the maximum {maximum}s"
YEAR_NOTE = " (Kubernetes extends 3607s to a year)"
SHORTEN = "set expirationSeconds to {cap} or less"
CAPPED = "capped to {cap}s"
OUTLASTS = "is {grace}, but a token may expire {remaining}s into termination"
OUTLASTS_HINT = "set it to {remaining} or less, or do not use the token while terminating"
_MIN_REMAINING = lifetimes.remaining_at_refresh(lifetimes.MIN_EXPIRATION)
"""Seconds that the shortest possible token has left at its refresh: no shorter termination outlasts a token."""


def check(pod: PodContext) -> Iterator[Violation]:
    """Find tokens that can be valid longer than the maximum, and a termination that outlasts a token."""
    maximum = pod.namespace_policy.tokens.max_expiration_seconds
    for token in pod.tokens:
        requested = token.projection.expiration_seconds
        for_api_server = pod.for_api_server(token.projection.audience)
        lifetime = lifetimes.effective_lifetime(requested, for_api_server=for_api_server)
        if lifetime <= maximum or (token.is_api_token and _is_kept(pod, requested)):
            continue
        cap = lifetimes.capped_expiration(maximum, requested, for_api_server=for_api_server)
        pointer = token.pointer
        messages = _year_messages if lifetime == lifetimes.YEAR else _messages
        detail, hint, fix_summary = messages(requested, lifetime, maximum, cap)
        yield Violation(
            pointer,
            detail,
            hint,
            edits=(Put(f"{pointer}/serviceAccountToken/expirationSeconds", cap, replaces=requested is not None),),
            fix_summary=fix_summary,
            authored=token.authored or not token.is_api_token,
            token=MountedToken("" if for_api_server else token.projection.audience or "", lifetime),
            is_api_token=token.is_api_token,
        )
    if (pod.pod.spec.termination_grace_period_seconds or 0) > _MIN_REMAINING:
        yield from _check_termination(pod)


def check_csi_driver(context: CSIDriverContext) -> Iterator[Violation]:
    """Find the tokens of a CSI driver that can be valid longer than the maximum."""
    maximum = context.namespace_policy.tokens.max_expiration_seconds
    for number, request in enumerate(context.driver.token_requests):
        requested, audience = request.expiration_seconds, request.audience
        for_api_server = not audience or audience in context.api_audiences
        lifetime = lifetimes.effective_lifetime(requested, for_api_server=for_api_server)
        if lifetime > maximum:
            cap = lifetimes.capped_expiration(maximum, requested, for_api_server=for_api_server)
            detail, hint, _ = _messages(requested, lifetime, maximum, cap)
            yield Violation(f"/spec/tokenRequests/{number}", detail, hint)


def _messages(requested: int | None, lifetime: int, maximum: int, cap: int) -> tuple[str, str, str]:
    """Return what is wrong with a token, what its author can do, and what is done."""
    year = YEAR_NOTE if lifetime != (requested or lifetime) else ""
    exceeds = EXCEEDS.format(lifetime=lifetime, year=year, maximum=maximum)
    return exceeds, SHORTEN.format(cap=cap), CAPPED.format(cap=cap)


_year_messages = lru_cache(maxsize=64)(_messages)
"""The same for the token that Kubernetes mounts into every pod: only the policy's maximum varies."""


def _is_kept(pod: PodContext, requested: int | None) -> bool:
    """Return whether the policy leaves the API server token, with this `expirationSeconds`, valid for a year."""
    return pod.namespace_policy.api_server_token.keep and requested == lifetimes.MAGIC_EXPIRATION


def _check_termination(pod: PodContext) -> Iterator[Violation]:
    """Find that the pod may take longer to terminate than its tokens stay valid without a refresh."""
    grace = pod.pod.spec.termination_grace_period_seconds or 0
    shortest = min(_lifetimes(pod), default=None)
    if shortest is None:
        return
    remaining = lifetimes.remaining_at_refresh(shortest)
    if grace > remaining:
        yield Violation(
            "/spec/terminationGracePeriodSeconds",
            OUTLASTS.format(grace=grace, remaining=remaining),
            hint=OUTLASTS_HINT.format(remaining=remaining),
            warn_only=True,
        )


def _lifetimes(pod: PodContext) -> Iterator[int]:
    """Yield how long each of the pod's tokens is valid once the policy has capped it, in seconds."""
    maximum = pod.namespace_policy.tokens.max_expiration_seconds
    capping = pod.namespace_policy.rules[RULE.name] in (Action.PATCH, Action.REJECT)
    loses_api_token = pod.will_lose_api_token
    tokens = [
        (token.projection.audience, token.projection.expiration_seconds, token.is_api_token)
        for token in pod.tokens
        if token.authored or not (token.is_api_token and loses_api_token)
    ]
    if pod.will_get_api_token and not loses_api_token:
        tokens.append((None, lifetimes.MAGIC_EXPIRATION, True))
    for audience, requested, is_api_token in tokens:
        for_api_server = pod.for_api_server(audience)
        lifetime = lifetimes.effective_lifetime(requested, for_api_server=for_api_server)
        if capping and lifetime > maximum and not (is_api_token and _is_kept(pod, requested)):
            lifetime = lifetimes.capped_expiration(maximum, requested, for_api_server=for_api_server)
        yield lifetime


RULE: Rule = Rule(
    name="token-expiration",
    summary="a projected token can be valid longer than tokens.maxExpirationSeconds",
    explanation="""\
A stolen token can be used until it expires. A short lifetime costs a running pod little: the kubelet writes a new token
into the file at 80 % of its lifetime (after 24 hours at the latest), and clients that re-read the file keep working.

This is different while a pod terminates: after its deletion, the kubelet may no longer refresh its tokens
(kubernetes/kubernetes#116481). When the pod is deleted, its token has at least 20 % of its lifetime left: 12 minutes of
an hour. If `terminationGracePeriodSeconds` is longer, the author gets a warning; the pod is not denied. What to do:
lower the grace period to what the pod needs, use the token only early in the termination, or set
`automountServiceAccountToken: false` if the pod does not use the API server token.

For a token for the API server, 3607 seconds have a special meaning: Kubernetes makes such a token valid for a year, so
that old clients, which read their token only once, keep working. The token that Kubernetes mounts by default is such a
token. It is capped to the smaller of the maximum and 3600 seconds; `apiServerToken.expiration: keep` leaves it
unchanged. A volume with one token, without an audience, that the author mounts at the same path,
/var/run/secrets/kubernetes.io/serviceaccount, and nowhere else counts as this token, whatever its name is: it needs
no audience, and even with the action `reject` it is capped, with a warning, and not denied. If the volume is called
kube-api-access-*, as in the output of `kubectl get pod -o yaml`, nobody wrote it: there is no warning, and `check` has
no finding.

What to do: set `expirationSeconds` to at most the maximum, and re-read the token's file before it expires.

A CSIDriver's `tokenRequests` are tokens of the same kind: the kubelet passes them to the driver, for every pod that
mounts one of its volumes. No webhook is called for them; `check` and `scan` warn about them.""",
    subjects=PODS | {Subject.CSI_DRIVER},
    default=Action.PATCH,
    optional_actions=(Action.REJECT,),
    check=check,
    checks_by_subject={Subject.CSI_DRIVER: check_csi_driver},
)
