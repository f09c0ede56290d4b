"""Policies, objects and reviews for tests of the audit log."""

from tests.reviews import review
from tests.serving import JSON, POLICY, ask
from webhook.core.admission_request import Phase
from webhook.server.audit_log.sink import Sink

HOSTPATH = [{"name": "h", "hostPath": {"path": "/var/lib/kubelet/pods"}}]
LEGACY = [{"name": "t", "secret": {"secretName": "app-token"}}]
NO_INJECTION = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
EXEMPT = NO_INJECTION + 'exemptions: [{rules: ["*"], namespaces: [demo], reason: r, until: never}]\n'
POLICIES = {
    "warned": (NO_INJECTION, Phase.VALIDATE, HOSTPATH),
    "audited": (NO_INJECTION + "mode: audit\n", Phase.VALIDATE, HOSTPATH),
    "plain": (NO_INJECTION, Phase.VALIDATE, []),
    "denied": (NO_INJECTION, Phase.VALIDATE, LEGACY),
    "exempted": (EXEMPT, Phase.VALIDATE, LEGACY),
    "patched": (POLICY, Phase.MUTATE, []),
}


def pod(**spec):
    return {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b"}], **spec}}


def pods(count: int, **spec):
    """Return reviews of so many pods, each with a uid of its own."""
    return [review(pod(**spec), uid=f"{number:08x}-9b31-4f27") for number in range(count)]


def large_denial(number: int) -> bytes:
    """Return a review whose record is longer than PIPE_BUF."""
    env = [
        {"name": f"E{at}", "valueFrom": {"secretKeyRef": {"name": "app-token", "key": "token"}}} for at in range(200)
    ]
    return review(pod(containers=[{"name": "a", "image": "b", "env": env}]), uid=f"{number:08x}-large")


def send_many(server, numbers) -> None:
    connection = server.connect()
    for number in numbers:
        assert ask(connection, "POST", "/validate", large_denial(number), JSON).status == 200
    connection.close()


class FullSink(Sink):
    """A sink that takes no line."""

    def __init__(self):
        super().__init__("full")

    def write(self, _):
        raise OSError(28, "No space left on device")

    def reopen(self):
        raise OSError(2, "No such file or directory")
