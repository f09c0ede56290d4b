"""What no rule is ever evaluated for: kube-system, tokenguard's own pods, and requests of Kubernetes itself.

The webhook configurations exclude most of it before the webhook is called, and may exclude more namespaces: see
`webhook_namespaces`.
"""

from webhook.core.admission_request import AdmissionRequest
from webhook.core.k8s_types import Pod
from webhook.core.kinds import TOKEN_GRANTING, Subject

SYSTEM_NAMESPACE = "kube-system"
NODES, NODE_USER = "system:nodes", "system:node:"
"""The group and the user name's prefix of every kubelet; only both together identify one."""
TOKEN_CONTROLLER = "system:kube-controller-manager"  # noqa: S105 - the user that fills Secrets with tokens
MIRROR = "kubernetes.io/config.mirror"
KUBE_SYSTEM_ACCOUNT = "system:serviceaccount:kube-system:"


def exclusion_reason(request: AdmissionRequest, own_namespace: str) -> str | None:
    """Return why a request is never evaluated, or None if it is."""
    namespace, user, subject = request.namespace, request.user, request.subject
    if namespace == SYSTEM_NAMESPACE:
        return f"namespace {namespace} is excluded"
    if namespace == own_namespace and subject not in TOKEN_GRANTING:
        return f"namespace {namespace} is excluded, except for its Secrets, TokenRequests and policies"
    if user.startswith(NODE_USER):
        return _kubelet_reason(request) if NODES in request.groups else None
    if subject is Subject.TOKEN_REQUEST and user.startswith(KUBE_SYSTEM_ACCOUNT):
        return "a ServiceAccount of kube-system requests a token"
    if subject is Subject.SECRET and user == TOKEN_CONTROLLER and request.operation == "UPDATE":
        return "the token controller updates a Secret"
    return None


def _kubelet_reason(request: AdmissionRequest) -> str | None:
    if request.subject is Subject.TOKEN_REQUEST:
        return "the kubelet requests a pod's token"
    obj = request.object
    if request.subject is Subject.POD and isinstance(obj, Pod) and MIRROR in (obj.metadata.annotations or ()):
        return "a mirror pod, created by the kubelet"
    return None
