"""The effective lifetime of a token. All lifetimes are in seconds.

Source: pkg/registry/core/serviceaccount/storage/token.go and KEP-1205 (bound service account tokens): with
`--service-account-extend-token-expiration`, on by default, a token that is requested with exactly 3607 seconds, bound
to a pod and issued for the API server alone, is signed for a year.
"""

MIN_EXPIRATION = 600
MAX_EXPIRATION = 1 << 32
DEFAULT_EXPIRATION = 3600
MAGIC_EXPIRATION = 3607
YEAR = 31_536_000
_REFRESH_AFTER = 24 * 3600


def effective_lifetime(expiration: int | None, *, for_api_server: bool) -> int:
    """Return how long a pod-bound token is valid that was requested with `expirationSeconds: expiration`."""
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
    """Return the `expirationSeconds` to which a projected token with `expiration` is capped.

    What counts as a year becomes an hour or less: an author who kept Kubernetes' own number expects an hour. No token
    is capped to that number, which would make it valid for a year.
    """
    if for_api_server and MAGIC_EXPIRATION in (expiration, maximum):
        return min(maximum, DEFAULT_EXPIRATION)
    return maximum
