"""kubelet-hostpath: no pod sees the folder of the node in which every pod's token lies."""

from collections.abc import Iterator

from webhook.core.decision import Violation
from webhook.core.paths import clean_path, without_drive
from webhook.core.policy.model import Action
from webhook.core.rule import PODS, Rule
from webhook.core.text import quote
from webhook.core.views import PodView

KUBELET_PODS = "/var/lib/kubelet/pods"


def check(pod: PodView) -> Iterator[Violation]:
    """Find the hostPath volumes that show the kubelet's pods."""
    for number, volume in enumerate(pod.volumes):
        if volume.host_path is None:
            continue
        written = volume.host_path.path or ""
        path = without_drive(clean_path(written))  # any drive: a pod need not say which system it is for
        if _is_within(path, KUBELET_PODS) or _is_within(KUBELET_PODS, path):
            yield Violation(
                f"/spec/volumes/{number}/hostPath",
                f"is {quote(written)}, where every pod's token lies",
                advice="mount less",
            )


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


RULE = Rule(
    name="kubelet-hostpath",
    summary="a hostPath is /var/lib/kubelet/pods, above it or under it: every pod's token lies there",
    explanation="""\
The kubelet keeps the token files of all pods of its node below `/var/lib/kubelet/pods`. Whoever mounts that folder,
one above it (`/var/lib`, `/`) or one under it reads the tokens of every other pod there.

What to do: mount the very folder that is needed (for logs, `/var/log`). Agents of the node that really need it, such as
CSI drivers, belong into an exemption with a reason.""",
    looks_at=PODS,
    default=Action.WARN,
    may_also=(Action.REJECT,),
    check=check,
)
