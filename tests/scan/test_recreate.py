"""Live pods as their authors would create them again."""

import pytest

from tests.scan.small_cluster import (
    AT,
    INJECT,
    VAULT,
    Small,
    account,
    api_token,
    live,
    mounts,
    named_secret,
    of,
    secret,
    spec,
    token,
)
from webhook.core.decision import Outcome
from webhook.core.policy.model import Action

LEGACY = "rules: {legacy-token-reference: patch}\n"
OWNED = of("ReplicaSet", "web-1")
HELD = {"name": "held", "secret": {"secretName": "old"}}
REPLACED = token("held", audience="https://kubernetes.default.svc", expirationSeconds=3600)
INJECTED = token("tokenguard-vault", audience=VAULT, expirationSeconds=3600)


def outcome_and_findings(small: Small, policy: str = ""):
    """Return the outcome for the only pod, and each finding's rule, action and path."""
    [owner] = small.scan(policy).workloads
    [group] = owner.pods
    result = group.evaluation.result
    return result.outcome, {(finding.rule, finding.action, finding.path) for finding in result.findings}


CAPPED = ("token-expiration", Action.PATCH, "spec.volumes[0].projected.sources[0]")


@pytest.mark.parametrize("expiration", [3607, 3600, 600], ids=["as Kubernetes made it", "capped", "capped to less"])
def test_recreate_api_token_is_restored_and_capped(expiration: int) -> None:
    assert outcome_and_findings(Small().pod("bare", live(expiration))) == (Outcome.PATCHED, {CAPPED})


def test_recreate_account_opts_out_has_no_api_token() -> None:
    small = Small(accounts=(account("default", automountServiceAccountToken=False),)).pod("bare", live())
    assert outcome_and_findings(small, "rules: {api-token-automount: reject}\n") == (Outcome.ALLOWED, set())


def test_recreate_account_opts_in_has_api_token() -> None:
    assert outcome_and_findings(Small().pod("bare", spec())) == (Outcome.PATCHED, {CAPPED})
    assert outcome_and_findings(Small().pod("bare", spec(automountServiceAccountToken=False))) == (
        Outcome.ALLOWED,
        set(),
    )


def test_recreate_taken_mount_path_gets_no_api_token() -> None:
    taken = spec([{"name": "own", "emptyDir": {}}], mounts(("own", AT)))
    assert outcome_and_findings(Small().pod("bare", taken)) == (Outcome.ALLOWED, set())


def test_recreate_api_token_volume_keeps_other_sources() -> None:
    volume = api_token(3600)
    volume["projected"]["sources"].reverse()
    pod = spec([volume], mounts((volume["name"], AT)))
    path = "spec.volumes[0].projected.sources[1]"
    assert outcome_and_findings(Small().pod("bare", pod)) == (
        Outcome.PATCHED,
        {("token-expiration", Action.PATCH, path)},
    )


def test_recreate_projected_api_token_is_kept() -> None:
    volume = api_token(86400, name="by-hand")
    pod = spec([volume], mounts(("by-hand", AT)), automountServiceAccountToken=False)
    path = "spec.volumes[0].projected.sources[0]"
    assert outcome_and_findings(Small().pod("bare", pod)) == (
        Outcome.PATCHED,
        {("token-expiration", Action.PATCH, path)},
    )


def test_recreate_injected_token_is_injected_again() -> None:
    mounted = mounts(("tokenguard-vault", "/vault"), ("kube-api-access-abcde", AT))
    small = Small().pod("bare", spec([api_token(3600), INJECTED], mounted))
    assert outcome_and_findings(small, INJECT) == (Outcome.PATCHED, {CAPPED, ("inject", Action.PATCH, "spec")})
    assert outcome_and_findings(small, "tokens: {audiences: {allowed: [nobody]}}\n") == (Outcome.PATCHED, {CAPPED})


def test_recreate_volume_with_other_sources_is_the_authors() -> None:
    more = {
        "name": "tokenguard-vault",
        "projected": {"sources": [*INJECTED["projected"]["sources"], {"configMap": {}}]},
    }
    small = Small().pod("bare", spec([more], automountServiceAccountToken=False))
    outcome, _ = outcome_and_findings(small, "tokens: {audiences: {allowed: [nobody]}}\n")
    assert outcome is Outcome.DENIED


def test_recreate_patched_pod_follows_its_template() -> None:
    written = spec([HELD, token(audience=VAULT, expirationSeconds=86400)], mounts(("held", "/held"), ("token", "/t")))
    patched = spec(
        [REPLACED, token(audience=VAULT, expirationSeconds=3600), api_token(3600)],
        mounts(("held", "/held"), ("token", "/t"), ("kube-api-access-abcde", AT)),
    )
    small = Small(secret("old")).deployment("web", written | {"serviceAccountName": "app"})
    small.pod("web-1-a", patched | {"serviceAccountName": "app"}, **OWNED)
    assert outcome_and_findings(small) == (Outcome.DENIED, {
        ("legacy-token-reference", Action.REJECT, "spec.volumes[0].secret"),
        ("token-expiration", Action.PATCH, "spec.volumes[1].projected.sources[0]"),
        ("token-expiration", Action.PATCH, "spec.volumes[2].projected.sources[0]"),
    })  # fmt: skip
    outcome, _ = outcome_and_findings(small, LEGACY)
    assert outcome is Outcome.PATCHED


def test_recreate_removed_automount_follows_its_template() -> None:
    small = Small().deployment("web", spec()).pod("web-1-a", spec(automountServiceAccountToken=False), **OWNED)
    outcome, findings = outcome_and_findings(small, "rules: {api-token-automount: patch}\n")
    assert outcome is Outcome.PATCHED
    assert ("api-token-automount", Action.PATCH, "spec.volumes[0]") in findings


def test_recreate_additions_of_other_webhooks_are_kept() -> None:
    sidecar = {"name": "proxy", **mounts(("istio-token", "/istio"))}
    added = spec([token("istio-token", audience="istio-ca"), api_token()], mounts(("kube-api-access-abcde", AT)))
    added["containers"].append(sidecar)
    small = Small().deployment("web", spec()).pod("web-1-a", added, **OWNED)
    outcome, findings = outcome_and_findings(small, f"tokens: {{audiences: {{allowed: ['{VAULT}']}}}}\n")
    assert outcome is Outcome.DENIED
    assert ("token-audience", Action.REJECT, "spec.volumes[0].projected.sources[0]") in findings


def test_recreate_account_follows_the_template() -> None:
    quiet = account("quiet", automountServiceAccountToken=False)
    small = Small(accounts=(quiet,)).deployment("web", spec(serviceAccountName="quiet"))
    small.pod("web-1-a", live(serviceAccountName="app"), **OWNED)
    assert outcome_and_findings(small) == (Outcome.ALLOWED, set())


def test_recreate_ephemeral_containers_are_removed() -> None:
    debugged = live() | {"ephemeralContainers": [{"name": "debugger", **named_secret("old")}]}
    small = Small(secret("old")).pod("bare", debugged)
    assert outcome_and_findings(small) == (Outcome.PATCHED, {CAPPED})
    [legacy] = small.scan().legacy_secrets
    assert [reference.path for reference in legacy.references] == ["spec.ephemeralContainers[0].env[0]"]


ON_REQUEST = INJECT.replace("}", ", onRequest: true}")
BY_LABEL = INJECT.replace("}", ", podLabels: {app: new}}")


def test_recreate_metadata_follows_the_template() -> None:
    written = {"spec": spec(automountServiceAccountToken=False), "metadata": {"labels": {"app": "new"}}}
    small = Small().deployment("web", written["spec"], metadata=written["metadata"])
    added = {"annotations": {"tokenguard/inject": "vault"}}
    small.pod("web-1-a", written["spec"], labels={"app": "edited"}, **added, **OWNED)
    assert outcome_and_findings(small, BY_LABEL)[0] is Outcome.PATCHED
    assert outcome_and_findings(small, ON_REQUEST)[0] is Outcome.PATCHED


def test_recreate_outdated_pod_has_the_new_metadata() -> None:
    quiet = spec(automountServiceAccountToken=False)
    asking = {"labels": {"app": "new"}, "annotations": {"tokenguard/inject": "vault"}}
    for before, after, outcome in (({}, asking, Outcome.PATCHED), (asking, {}, Outcome.ALLOWED)):
        labels = {**before.get("labels", {}), "controller-revision-hash": "1"}
        small = Small().stateful_set("db", {"metadata": after, "spec": quiet}, revision="2")
        small.pod("db-0", quiet, **{**before, "labels": labels}, **of("StatefulSet", "db"))
        assert outcome_and_findings(small, BY_LABEL)[0] is outcome
        assert outcome_and_findings(small, ON_REQUEST)[0] is outcome


def test_recreate_outdated_pod_has_the_new_spec() -> None:
    quiet = spec(automountServiceAccountToken=False)
    newest = spec(container=named_secret("old"), automountServiceAccountToken=False)
    small = Small(secret("old")).stateful_set("db", {"spec": newest}, revision="2")
    small.pod("db-0", quiet, labels={"controller-revision-hash": "1"}, **of("StatefulSet", "db"))
    assert outcome_and_findings(small)[0] is Outcome.DENIED


def test_recreate_outdated_pod_keeps_name_and_identity_labels() -> None:
    named = {"statefulset.kubernetes.io/pod-name": "db-0", "controller-revision-hash": "1"}
    quiet = spec(automountServiceAccountToken=False)
    small = Small().stateful_set("db", {"spec": quiet}, revision="2")
    small.pod("db-0", quiet, labels=named, **of("StatefulSet", "db"))
    by_name = INJECT.replace("}", ", podLabels: {statefulset.kubernetes.io/pod-name: db-0}}")
    assert outcome_and_findings(small, by_name)[0] is Outcome.PATCHED


def test_recreate_mirror_pod_is_left_alone() -> None:
    mirror = {"annotations": {"kubernetes.io/config.mirror": "x"}}
    host = spec([{"name": "host", "hostPath": {"path": "/"}}])
    reject = "rules: {kubelet-hostpath: reject}\n"
    assert (
        outcome_and_findings(Small().pod("static", host, **mirror, **of("Node", "node-1", "")), reject)[0]
        is Outcome.ALLOWED
    )
    assert outcome_and_findings(Small().pod("static", host, **mirror), reject)[0] is Outcome.DENIED
