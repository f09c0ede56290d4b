"""kubelet-hostpath: no pod mounts the node's folder that contains every pod's tokens."""

import re
from collections.abc import Iterator

from webhook.core.decision import Violation
from webhook.core.formatting import quote
from webhook.core.paths import node_paths
from webhook.core.pod_context import PodContext
from webhook.core.policy.model import Action
from webhook.core.rule import PODS, Rule

EXPOSES = "is {host_path}, which {effect}"
CONTAINS, LEADS = "contains every pod's tokens", "leads to every pod's tokens"
HINT = "mount only the folder that is needed"
_PROCESS_LINK = re.compile(r"/proc/[^/]+(/task/[^/]+)?/(root|cwd)(/|$)")
"""Links from a process's folder under /proc to the rest of the node (proc(5))."""


def check(pod: PodContext) -> Iterator[Violation]:
    """Find the hostPath volumes that contain the kubelet's pods, or lead there."""
    for number, volume in pod.host_paths:
        host_path = (volume.host_path and volume.host_path.path) or ""
        paths = node_paths(host_path)
        if any(
            _is_within(path, pods) or _is_within(pods, path)
            for path in paths
            for pods in pod.namespace_policy.kubelet_pods
        ):
            effect = CONTAINS
        elif any(_PROCESS_LINK.match(path) for path in paths):
            effect = LEADS
        else:
            continue
        yield Violation(
            f"/spec/volumes/{number}/hostPath",
            EXPOSES.format(host_path=quote(host_path), effect=effect),
            hint=HINT,
        )


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


RULE: Rule = Rule(
    name="kubelet-hostpath",
    summary="a hostPath volume exposes the folder that contains every pod's tokens, directly or through /proc",
    explanation="""\
The kubelet keeps the token files of all pods of its node in the folder `pods` of its root folder, by default
`/var/lib/kubelet/pods`. A pod that mounts that folder, one above it (`/var/lib`, `/`) or one below it can read the
tokens of every other pod there. So can a pod that mounts `/proc/1/root`, or `root` or `cwd` of another process: these
links lead to the node's file system.

Some distributions give the kubelet another root folder (k0s `/var/lib/k0s/kubelet`, MicroK8s
`/var/snap/microk8s/common/var/lib/kubelet`): list all of them in the policy's `kubeletRootDirs`.

What to do: mount only the folder that is needed (for logs, `/var/log`). For node agents that really need it, such as
CSI drivers, write an exemption with a reason.

The rule cannot see where a symlink on the node leads, and any pod that may write
to a hostPath can create one. It does not deny `/proc` as a whole, which monitoring agents mount. If pods must not reach
the node at all, forbid hostPath volumes (Pod Security Standard `baseline`).""",
    subjects=PODS,
    default=Action.WARN,
    optional_actions=(Action.REJECT,),
    check=check,
)
