"""A scanned cluster for the page's tests: something of everything that it shows, and hostile names."""

from msgspec.structs import replace

from tests.scan.small_cluster import (
    INJECT,
    NOW,
    VAULT,
    Small,
    account,
    binding,
    csi_driver,
    live,
    named_secret,
    of,
    role,
    secret,
    spec,
    token,
)
from webhook.scan.pod_admission import AdmissionHistory
from webhook.scan.report import ScanReport, UnreadResource

HOSTILE = '</script><script>document.title = "taken"</script><img src=https://evil.example/x onerror=alert(1)>"\'&'
BACKWARDS = "safe\u202egpj.exe"
LONG = "long-" * 200
PODS = 130
POLICY = f"""\
rules: {{kubelet-hostpath: reject}}
overrides:
- {{namespaces: [team-3], mode: audit}}
exemptions:
- {{rules: [legacy-token-secret], namespaces: [shop], reason: '{HOSTILE.replace("'", "''")}', until: 2026-12-01}}
- {{rules: ["*"], namespaces: [nowhere], reason: unused, until: never}}
"""
SIMULATED = f"{INJECT}rules: {{token-subpath: reject, kubelet-hostpath: warn}}\n"


def report(simulated: str | None = None) -> ScanReport:
    return cluster().scan(POLICY, simulated, context="staging")


def cluster() -> Small:
    small = Small(
        secret("old"),
        secret("used", last_used="2026-11-20"),
        secret("unused"),
        secret("crm.example.com-token", account="prometheus-operator.v2", last_used="2026-11-20"),
        secret("invalid", invalid_since="2026-11-01"),
        secret(HOSTILE, last_used="2026-06-01"),
        accounts=(account("app", secrets=[{"name": "old"}]), account("bound")),
    )
    small.snapshot.permissions.add_role(role("viewer"))
    small.snapshot.permissions.add_binding(binding({"kind": "ServiceAccount", "name": "bound", "namespace": "shop"}))
    small.deployment("web", spec(container=named_secret("old")))
    owned = of("ReplicaSet", "web-1")
    small.pod("web-1-a", spec(container=named_secret("old")), **owned)
    small.pod("web-1-b", live() | {"initContainers": [{"name": "added", **named_secret("used")}]}, **owned)
    small.pod("fine", spec(serviceAccountName="bound"))
    small.pod("hostile", spec([token(audience=HOSTILE)], named_secret(HOSTILE)), **of("Deployment", HOSTILE))
    small.pod(BACKWARDS, live())
    small.pod(LONG, live(), namespace=LONG)
    small.snapshot.history = AdmissionHistory(NOW.replace(day=20), NOW.replace(day=20), is_known=True)
    for name, day in (("early", 19), (HOSTILE, 22)):
        small.pod(name, live(), creationTimestamp=f"2026-11-{day}T00:00:00Z", **of("Deployment", HOSTILE))
    for number in range(PODS):
        volumes = [{"name": "h", "hostPath": {"path": "/"}}] if number % 3 else [token(audience=VAULT)]
        small.pod(f"pod-{number}", spec(volumes), namespace=f"team-{number % 7}")
    small.snapshot.csi_drivers.append(csi_driver(HOSTILE, {"audience": HOSTILE, "expirationSeconds": 86400}))
    small.snapshot.unread.append(
        UnreadResource("roles", f"HTTP 403: {HOSTILE}", "lacks", "advice", affects_decisions=False)
    )
    return small


def varied_secrets(simulated: str | None = None) -> ScanReport:
    """Return a report whose table of Secrets has every column: no column has the same value in every row."""
    small = Small()
    accounts = ("jenkins-deployer", "prometheus-operator", "default")
    namespaces = ("payments-production", "shop", "observability")
    for number in range(12):
        used = {"last_used": f"2026-11-{number + 10}"} if number % 4 else {}
        invalid = {"invalid_since": "2026-11-01"} if number % 5 == 4 else {}
        name, namespace = f"jenkins-deployer-token-{number}", namespaces[number % 3]
        found = secret(name, f"2026-0{number % 8 + 1}-01T00:00:00Z", accounts[number % 3], **used, **invalid)
        small.snapshot.secrets.append(replace(found, metadata=replace(found.metadata, namespace=namespace)))
        small.snapshot.namespaces[namespace] = frozenset()
        if number % 2:
            small.pod(f"backend-{number}", spec(container=named_secret(name)), namespace=namespace)
    reader = {"kind": "ServiceAccount", "name": accounts[0], "namespace": namespaces[0]}
    small.snapshot.permissions.add_role(role("r", {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}))
    small.snapshot.permissions.add_binding(binding(reader, to="ClusterRole/r"))
    return small.scan("", simulated)
