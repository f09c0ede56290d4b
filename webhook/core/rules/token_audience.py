"""token-audience: a token that a pod's author projects is issued for an allowed audience."""

from collections.abc import Iterator

from webhook.core.audiences import audience_hint
from webhook.core.decision import MAX_LINES, Violation
from webhook.core.formatting import quote
from webhook.core.json_patch import Put
from webhook.core.kinds import Subject
from webhook.core.pod_context import PodContext
from webhook.core.policy.model import Action
from webhook.core.rule import PODS, Rule
from webhook.core.token_context import CSIDriverContext

NO_AUDIENCE = "has no audience"
NAME_ONE = "set audience to the intended service"
ISSUED = "issued for {default}"
NOT_ALLOWED = "has audience {audience}, which is not allowed"


def check(pod: PodContext) -> Iterator[Violation]:
    """Find the author's tokens that name no audience, or one that is not allowed."""
    audiences = pod.namespace_policy.tokens.audiences
    denied = 0
    for token in pod.tokens:
        if token.is_api_token or token.volume.name in pod.injected_volumes:
            continue
        audience = token.projection.audience
        if not audience:
            if audiences.required:
                default = audiences.default
                pointer = f"{token.pointer}/serviceAccountToken/audience"
                if default and pod.collides_with_injection(token.volume.name, default):
                    default = None
                yield Violation(
                    token.pointer,
                    NO_AUDIENCE,
                    hint=NAME_ONE,
                    edits=(Put(pointer, default, replaces=audience is not None),) if default else (),
                    fix_summary=ISSUED.format(default=quote(default)) if default else "",
                )
        elif hint := audience_hint(audience, audiences.allowed, pod.api_audiences, guess=denied < MAX_LINES):
            denied += 1
            yield Violation(token.pointer, NOT_ALLOWED.format(audience=quote(audience)), hint=hint)


def check_csi_driver(context: CSIDriverContext) -> Iterator[Violation]:
    """Find the tokens of a CSI driver that name no audience, or one that is not allowed."""
    audiences = context.namespace_policy.tokens.audiences
    denied = 0
    for number, request in enumerate(context.driver.token_requests):
        pointer = f"/spec/tokenRequests/{number}"
        if not request.audience:
            if audiences.required:
                no_audience = "has no audience, so it is valid for the API server"
                yield Violation(pointer, no_audience, hint="set audience to the service that the driver sends it to")
        elif hint := audience_hint(
            request.audience, audiences.allowed, context.api_audiences, guess=denied < MAX_LINES
        ):
            denied += 1
            yield Violation(pointer, NOT_ALLOWED.format(audience=quote(request.audience)), hint=hint)


RULE: Rule = Rule(
    name="token-audience",
    summary="a token projected by the pod's author names no audience although one is required, or names an audience"
    " that isn't allowed",
    explanation="""\
The audience of a token says who may accept it. A token issued for Vault is useless against the API server, and the
other way round. A token that names no audience is valid for the API server, and for every service that doesn't check.

What to do: set `audience` to the service that gets the token. For the API server itself, name the API server's audience
(often `https://kubernetes.default.svc`), which is always allowed. `tokens.audiences.allowed` lists the other allowed
audiences; with `tokens.audiences.default`, tokens that name no audience are issued for that one.

A CSIDriver's `tokenRequests` are tokens of the same kind: the kubelet passes them to the driver, for every pod that
mounts one of its volumes. No webhook is called for them; `check` and `scan` warn about them.""",
    subjects=PODS | {Subject.CSI_DRIVER},
    default=Action.PATCH,
    optional_actions=(Action.REJECT,),
    check=check,
    checks_by_subject={Subject.CSI_DRIVER: check_csi_driver},
)
