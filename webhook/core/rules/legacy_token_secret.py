"""legacy-token-secret: nobody makes a Secret that holds a token without end."""

from collections.abc import Iterator

from webhook.core.account_views import SecretView
from webhook.core.decision import Violation
from webhook.core.kubectl import create_token
from webhook.core.policy.model import Action
from webhook.core.request import Subject
from webhook.core.rule import Rule
from webhook.core.text import quote


def check(secret: SecretView) -> Iterator[Violation]:
    """Find a Secret of the legacy type; only such a one has a view."""
    account = quote(secret.account) if secret.account else "a ServiceAccount"
    yield Violation(
        "/type",
        f"asks for a token of {account} that never expires",
        advice=f"project a token into the pod, use an exemption that ends, or {create_token(secret.by_hand)}",
    )


RULE = Rule(
    name="legacy-token-secret",
    summary="a Secret of type kubernetes.io/service-account-token is made",
    explanation="""\
A Secret of this type is filled by Kubernetes with a token that has no end: it is valid until somebody deletes
the Secret, and everybody who may read Secrets has it.

What to do: in a pod, project a `serviceAccountToken`; by hand, `kubectl create token NAME --duration=1h`; for a
system outside the cluster, let it authenticate otherwise (OIDC, a client certificate). Where a controller can't do
without yet, write an exemption for its user, with a reason and an end.""",
    looks_at=frozenset({Subject.SECRET}),
    default=Action.REJECT,
    check=check,
)
