"""legacy-token-reference: no field of a pod names a Secret that holds a token without end.

Which Secrets those are is known by their type, never guessed from their names. `imagePullSecrets` are left
aside: the kubelet reads them, not the pod.
"""

from collections.abc import Iterator
from itertools import islice

from webhook.core.decision import Violation
from webhook.core.formatting import quote
from webhook.core.json_patch import Edit, Put, Remove
from webhook.core.k8s_types import Volume
from webhook.core.kinds import Subject
from webhook.core.pod_context import PodContext
from webhook.core.policy.model import Action
from webhook.core.rule import PODS_AND_EPHEMERAL_CONTAINERS, Rule
from webhook.core.secret_refs import container_secrets, volume_secrets
from webhook.core.secret_volume_migration import build_projection, find_obstacle
from webhook.core.token_context import ServiceAccountContext

_ADVICE = "mount a projected token instead"


def check(pod: PodContext) -> Iterator[Violation]:
    """Find every field that names a legacy Secret."""
    if not pod.legacy_tokens:
        return
    if pod.request.subject is Subject.EPHEMERAL_CONTAINERS:
        yield from _mounted(pod)
    else:
        yield from _volumes(pod)
    for placed in pod.containers:
        for field, name in container_secrets(placed.container):
            if name in pod.legacy_tokens:
                other = _other_account(pod.legacy_tokens[name], pod.account)
                yield _violation(f"{placed.pointer}/{field}", f"reads {_named(name, other)}", other)


def check_account(context: ServiceAccountContext) -> Iterator[Violation]:
    """Find the legacy Secrets that a ServiceAccount lists for its pods."""
    for number, secret in enumerate(context.account.secrets or ()):
        if secret.name and secret.name in context.legacy_tokens:
            other = _other_account(context.legacy_tokens[secret.name], context.account.metadata.name)
            lists = f"lists {_named(secret.name, other)}"
            yield _violation(f"/secrets/{number}", lists, other, hint="remove it from the list")


def _volumes(pod: PodContext) -> Iterator[Violation]:
    for number, volume in enumerate(pod.volumes):
        for field, name in volume_secrets(volume):
            if name in pod.legacy_tokens:
                pointer = f"/spec/volumes/{number}"
                yield _volume(pod, volume, pointer, field, name)


def _volume(pod: PodContext, volume: Volume, pointer: str, field: str, name: str) -> Violation:
    at = f"{pointer}/{field}"
    other = _other_account(pod.legacy_tokens[name], pod.account)
    holds = f"references {_named(name, other)}"
    if volume.secret is None or field != "secret":
        return _violation(at, holds, other)
    audience = pod.api_audiences[0]
    by_sub_path = pod.mounts(volume.name).by_sub_path
    obstacle = find_obstacle(volume.secret, pod.legacy_tokens[name], pod.account, by_sub_path=by_sub_path)
    if not obstacle and pod.collides_with_injection(volume.name, audience):
        obstacle = "its name is that of an injected volume"
    if obstacle:
        asked = pod.namespace_policy.rules[RULE.name] is Action.PATCH
        hint = f"{_ADVICE} (cannot be patched: {obstacle})" if asked else _ADVICE
        return _violation(at, holds, other, hint)
    projection = build_projection(volume.secret, audience, pod.namespace_policy.tokens.max_expiration_seconds)
    edits: tuple[Edit, ...] = (Put(f"{pointer}/projected", projection), Remove(at))
    return Violation(
        at,
        holds,
        hint=_ADVICE,
        edits=edits,
        fix_summary=f"replaced by a projected token issued for {quote(audience)}",
    )


def _mounted(pod: PodContext) -> Iterator[Violation]:
    """Find what the added containers mount, and leave alone what was in the pod before."""
    holding: dict[str | None, dict[str | None, str]] = {}
    for volume in pod.volumes:
        for _, name in volume_secrets(volume):
            if name in pod.legacy_tokens:
                other = _other_account(pod.legacy_tokens[name], pod.account)
                holding.setdefault(volume.name, {}).setdefault(other, name)
    told: set[str | None] = set()
    for placed in pod.containers if holding else ():
        for pointer, mount in placed.mounts:
            if mount.name not in holding:
                continue
            # every account's token at the volume's first mount, one at the others: no more in all than was written
            secrets = islice(holding[mount.name].items(), 1 if mount.name in told else None)
            told.add(mount.name)
            for other, name in secrets:
                yield _violation(pointer, f"mounts {_named(name, other)}", other)


def _other_account(token_account: str, own_account: str | None) -> str | None:
    """Return the account that a token is for, or None where it is the object's own."""
    return None if token_account == own_account else token_account


def _named(secret: str, other_account: str | None) -> str:
    whose = f" of {quote(other_account)}" if other_account else ""
    return f"the long-lived token{whose} in Secret {quote(secret)}"


def _violation(pointer: str, detail: str, other_account: str | None, hint: str = _ADVICE) -> Violation:
    return Violation(pointer, detail, hint, other_account=other_account)


RULE: Rule = Rule(
    name="legacy-token-reference",
    summary="a field that names a Secret names one of type kubernetes.io/service-account-token",
    explanation="""\
Such a Secret contains a token that never expires. Everybody who can read the pod's environment, its files or a copy of
either has it for good, and the token does not show who leaked it.

What to do: project a token into the pod. It belongs to the same account, is short-lived, and the kubelet refreshes it:

    volumes:
    - name: token
      projected:
        sources:
        - serviceAccountToken: {path: token, audience: https://vault.example.com, expirationSeconds: 3600}

With the action `patch`, a plain Secret volume of the pod's own account is replaced by the equivalent projection
(token, ca.crt, namespace) at the same path. What cannot be preserved is denied: another account's token, a mode for
the token file alone, a source of a projected volume, an environment variable.

A ServiceAccount that lists such a Secret under `secrets` is only warned about: its pods are evaluated themselves.""",
    subjects=PODS_AND_EPHEMERAL_CONTAINERS | {Subject.SERVICE_ACCOUNT},
    default=Action.REJECT,
    optional_actions=(Action.PATCH,),
    check=check,
    checks_by_subject={Subject.SERVICE_ACCOUNT: check_account},
)
