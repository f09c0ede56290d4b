"""kubelet-hostpath: no pod sees the folder of the node in which every pod's token lies."""

import re
from collections.abc import Iterator

from webhook.core.decision import Violation
from webhook.core.formatting import quote
from webhook.core.paths import node_paths
from webhook.core.pod_context import PodContext
from webhook.core.policy.model import Action
from webhook.core.rule import PODS, Rule

_PROCESS_LINK = re.compile(r"/proc/[^/]+(/task/[^/]+)?/(root|cwd)(/|$)")
"""Links by which a process's folder under /proc leads to the rest of the node (proc(5))."""


def check(pod: PodContext) -> Iterator[Violation]:
    """Find the hostPath volumes that show the kubelet's pods."""
    for number, volume in pod.host_paths:
        written = (volume.host_path and volume.host_path.path) or ""
        paths = node_paths(written)
        if any(
            _is_within(path, pods) or _is_within(pods, path)
            for path in paths
            for pods in pod.namespace_policy.kubelet_pods
        ):
            where = "which contains every pod's tokens"
        elif any(_PROCESS_LINK.match(path) for path in paths):
            where = "which leads to every pod's tokens"
        else:
            continue
        yield Violation(
            f"/spec/volumes/{number}/hostPath",
            f"is {quote(written)}, {where}",
            hint="mount only the folder that is needed",
        )


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


RULE: Rule = Rule(
    name="kubelet-hostpath",
    summary="a hostPath shows the folder in which the kubelet keeps every pod's tokens, or leads there through /proc",
    explanation="""\
The kubelet keeps the token files of all pods of its node in the folder `pods` of its root folder, by default
`/var/lib/kubelet/pods`. A pod that mounts that folder, one above it (`/var/lib`, `/`) or one below it can read the
tokens of every other pod there. So can a pod that mounts `/proc/1/root` or another process's `root` or `cwd`: they are
links to the rest of the node.

Some distributions give the kubelet another root folder (k0s `/var/lib/k0s/kubelet`, MicroK8s
`/var/snap/microk8s/common/var/lib/kubelet`): list all of them in the policy's `kubeletRootDirs`.

What to do: mount only the folder that is needed (for logs, `/var/log`). For agents of the node that really need it,
such as CSI drivers, write an exemption with a reason.

A path is compared as it is written. The rule cannot see where a symlink on the node leads, and any pod that may write
to a hostPath can create one. It does not deny `/proc` as a whole, which monitoring agents mount. If pods must not reach
the node at all, forbid hostPath volumes (Pod Security Standard `baseline`).""",
    subjects=PODS,
    default=Action.WARN,
    optional_actions=(Action.REJECT,),
    check=check,
)
