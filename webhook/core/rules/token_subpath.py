"""token-subpath: no token is mounted by subPath, because such a file is never refreshed."""

from collections.abc import Iterator

from webhook.core.decision import Violation
from webhook.core.pod_context import PodContext
from webhook.core.policy.model import Action
from webhook.core.rule import PODS_AND_EPHEMERAL_CONTAINERS, Rule

BY_SUB_PATH = "mounts a token by {field} (never refreshed)"
HINT = "mount the whole volume"


def check(pod: PodContext) -> Iterator[Violation]:
    """Find the mounts of token volumes by subPath or subPathExpr."""
    if not pod.tokens or not pod.has_sub_path_mount:
        return
    volumes = {token.volume.name for token in pod.tokens}
    for ref in pod.containers:
        for pointer, mount in ref.mounts:
            field = "subPath" if mount.sub_path else "subPathExpr" if mount.sub_path_expr else None
            if field and mount.name in volumes:
                yield Violation(
                    pointer,
                    BY_SUB_PATH.format(field=field),
                    hint=HINT,
                )


RULE: Rule = Rule(
    name="token-subpath",
    summary="a token volume is mounted by subPath or subPathExpr: that file is never refreshed",
    explanation="""\
The kubelet refreshes a projected token by replacing the files of its volume. A mount by `subPath` or `subPathExpr`
always shows the file as it was when the container started. So the client's
requests get 401 as soon as that token has expired.

What to do: mount the whole volume into a folder of its own, and point the client at the file in it.""",
    subjects=PODS_AND_EPHEMERAL_CONTAINERS,
    default=Action.WARN,
    optional_actions=(Action.REJECT,),
    check=check,
)
