"""How long a token really lives. All lifetimes are in seconds.

Source: pkg/registry/core/serviceaccount/storage/token.go and KEP-1205 (bound service account tokens):
with `--service-account-extend-token-expiration`, on by default, a token asked for with exactly 3607
seconds, bound to a pod and made out to the API server alone, is signed for a year.
"""

MIN_EXPIRATION = 600
MAX_EXPIRATION = 1 << 32
DEFAULT_EXPIRATION = 3600
MAGIC_EXPIRATION = 3607
YEAR = 31_536_000
_REFRESH_AFTER = 24 * 3600


def effective_lifetime(expiration: int | None, *, for_api_server: bool) -> int:
    """Return what a token lives that is bound to a pod, and for which `expiration` was asked."""
    if expiration is None:
        return DEFAULT_EXPIRATION
    return YEAR if expiration == MAGIC_EXPIRATION and for_api_server else expiration


def remaining_at_refresh(lifetime: int) -> int:
    """Return how long a projected token is still valid when the kubelet refreshes it.

    The kubelet refreshes a token at 80 % of its lifetime, or after 24 hours if that is earlier
    (pkg/kubelet/token/token_manager.go).
    """
    return lifetime - min(lifetime * 4 // 5, _REFRESH_AFTER)


def capped_expiration(maximum: int, expiration: int | None, *, for_api_server: bool) -> int:
    """Return the `expirationSeconds` that a projected token is capped to, of which `expiration` was asked for.

    What counts as a year becomes an hour or less: an author who left Kubernetes' own number standing expects an
    hour. Nor is a token ever capped to that number, which would make it live a year.
    """
    if for_api_server and MAGIC_EXPIRATION in (expiration, maximum):
        return min(maximum, DEFAULT_EXPIRATION)
    return maximum
