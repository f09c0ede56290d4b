"""api-token-automount: only pods that request the API server token get it."""

from collections.abc import Iterator

from webhook.core.decision import Violation
from webhook.core.json_patch import Edit, Put, Remove
from webhook.core.kinds import Subject
from webhook.core.pod_context import PodContext
from webhook.core.policy.model import Action
from webhook.core.rule import PODS, Rule
from webhook.core.token_context import ServiceAccountContext

MOUNTED = "mounts the API server token, which the pod does not request"
HINT = "set automountServiceAccountToken to false, or to true if the pod calls the API server"
REMOVED = "removed"


def check(pod: PodContext) -> Iterator[Violation]:
    """Find the API server token in a pod that doesn't request it, or will get it."""
    automount: bool | None = pod.pod.spec.automount_service_account_token
    if pod.requests_api_token:
        return
    own = [token for token in pod.tokens if token.is_api_token and not token.authored]
    unmounted: set[str | None] = set()
    for token in own:
        pointer, name = f"/spec/volumes/{token.volume_number}", token.volume.name
        mounts = () if name in unmounted else pod.mounts(name).pointers()
        unmounted.add(name)
        yield _violation(pointer, automount, (*(Remove(mount) for mount, _ in mounts), Remove(pointer)))
    if automount is None and pod.will_get_api_token:
        yield _violation("/spec", automount, ())


def check_account(context: ServiceAccountContext) -> Iterator[Violation]:
    """Find that a ServiceAccount requests it for all its pods."""
    if context.account.automount_service_account_token is True:
        yield Violation(
            "/automountServiceAccountToken",
            "is true, which mounts the token in every pod of the account",
            hint="set it in the specs of the pods that call the API server",
        )


def _violation(pointer: str, automount: bool | None, removals: tuple[Edit, ...]) -> Violation:  # noqa: FBT001
    off = Put("/spec/automountServiceAccountToken", value=False, replaces=automount is not None)
    return Violation(
        pointer,
        MOUNTED,
        hint=HINT,
        edits=(off, *removals),
        fix_summary=REMOVED,
    )


RULE: Rule = Rule(
    name="api-token-automount",
    summary="the API server token is mounted in a pod whose own spec does not request it",
    explanation="""\
The API server token is the token for the API server that Kubernetes mounts into every pod by default. Most pods never
call the API server, but an attacker who breaks into one of them gets the token all the same.

What to do: set `automountServiceAccountToken: false` in the pod's spec. If the pod does call the API server, or logs in
to another service with this token, such as Vault, say so with `automountServiceAccountToken: true` or the annotation
`tokenguard/api-token: "true"`. The ServiceAccount's
`automountServiceAccountToken: true` is not enough, because it applies to all pods of the account; it causes a warning.
A pod also requests the token if its author projects it in a volume that is not called kube-api-access-*.""",
    subjects=PODS | {Subject.SERVICE_ACCOUNT},
    default=Action.OFF,
    optional_actions=(Action.REJECT, Action.PATCH),
    check=check,
    checks_by_subject={Subject.SERVICE_ACCOUNT: check_account},
)
