"""legacy-token-reference: no field of a pod names a Secret with a token that never expires.

Those Secrets are known by their type, never by their names. `imagePullSecrets` are not checked: the kubelet reads
them, not the pod.
"""

from collections.abc import Iterator
from itertools import islice

from webhook.core.decision import Violation
from webhook.core.formatting import listing, quote
from webhook.core.json_patch import Put, Remove
from webhook.core.k8s_types import Volume
from webhook.core.kinds import Subject
from webhook.core.pod_context import PodContext
from webhook.core.policy.model import Action
from webhook.core.rule import PODS_AND_EPHEMERAL_CONTAINERS, Rule
from webhook.core.secret_refs import SecretReference, SecretSource, container_secrets, named_keys, volume_secrets
from webhook.core.secret_volume_migration import build_projection, find_obstacle
from webhook.core.token_context import ServiceAccountContext

_HINT = "mount a projected token instead"
_TOKEN = "token"  # noqa: S105 - a key
_OTHER_SOURCES = {"ca.crt": "ConfigMap kube-root-ca.crt for ca.crt", "namespace": "the downward API for namespace"}
"""Where the values of the other keys that the token controller writes are, too."""
_Mounted = tuple[bool, str, str]
"""Whether a mount gives access to the token, what it mounts, and the hint: made once for all mounts of a volume."""


def check(pod: PodContext) -> Iterator[Violation]:
    """Find every field that names a legacy Secret."""
    if not pod.legacy_tokens:
        return
    if pod.request.subject is Subject.EPHEMERAL_CONTAINERS:
        yield from _added_mounts(pod)
    else:
        for number, volume in enumerate(pod.volumes):
            for reference in volume_secrets(volume):
                if reference[1] in pod.legacy_tokens:
                    yield _volume_violation(pod, volume, f"/spec/volumes/{number}", reference)
    for ref in pod.containers:
        for field, name, source in container_secrets(ref.container):
            if name in pod.legacy_tokens:
                other = _other_account(pod.legacy_tokens[name], pod.account)
                detail = f"reads {_content(source, name, other)}"
                yield _violation(f"{ref.pointer}/{field}", detail, other, _hint(source))


def check_account(context: ServiceAccountContext) -> Iterator[Violation]:
    """Find the legacy Secrets that a ServiceAccount lists for its pods."""
    for number, secret in enumerate(context.account.secrets or ()):
        if secret.name and secret.name in context.legacy_tokens:
            other = _other_account(context.legacy_tokens[secret.name], context.account.metadata.name)
            detail = f"lists {_content(None, secret.name, other)}"
            yield _violation(f"/secrets/{number}", detail, other, hint="remove it from the list")


def _volume_violation(pod: PodContext, volume: Volume, pointer: str, reference: SecretReference) -> Violation:
    field, name, source = reference
    field_pointer = f"{pointer}/{field}"
    other = _other_account(pod.legacy_tokens[name], pod.account)
    detail, hint = f"references {_content(source, name, other)}", _hint(source)
    if volume.secret is None or field != "secret":
        return _violation(field_pointer, detail, other, hint)
    audience = pod.api_audiences[0]
    by_sub_path = pod.mounts(volume.name).by_sub_path
    obstacle = find_obstacle(volume.secret, pod.legacy_tokens[name], pod.account, by_sub_path=by_sub_path)
    if not obstacle and pod.collides_with_injection(volume.name, audience):
        obstacle = "its name is that of an injected volume"
    if obstacle:
        is_patched = pod.namespace_policy.rules[RULE.name] is Action.PATCH
        hint = f"{hint} (cannot be patched: {obstacle})" if is_patched else hint
        return _violation(field_pointer, detail, other, hint)
    projection = build_projection(volume.secret, audience, pod.namespace_policy.tokens.max_expiration_seconds)
    return Violation(
        field_pointer,
        detail,
        hint=hint,
        edits=(Put(f"{pointer}/projected", projection), Remove(field_pointer)),
        fix_summary=f"replaced by a projected token issued for {quote(audience)}"
        if _has_token(source)
        else "replaced by a projected volume with the same files",
    )


def _added_mounts(pod: PodContext) -> Iterator[Violation]:
    """Find what added ephemeral containers mount; the rest of the pod was evaluated when it was created."""
    mounted: dict[str | None, dict[str | None, _Mounted]] = {}
    for volume in pod.volumes:
        for _, name, source in volume_secrets(volume):
            if name in pod.legacy_tokens:
                other = _other_account(pod.legacy_tokens[name], pod.account)
                by_account = mounted.setdefault(volume.name, {})
                has_token = _has_token(source)
                if other not in by_account or (has_token and not by_account[other][0]):
                    by_account[other] = has_token, f"mounts {_content(source, name, other)}", _hint(source)
    reported: set[str | None] = set()
    for ref in pod.containers if mounted else ():
        for pointer, mount in ref.mounts:
            if mount.name not in mounted:
                continue
            # Every account at the volume's first mount, one account at the others: at most as many findings as mounts
            # and sources together, not their product.
            secrets = islice(mounted[mount.name].items(), 1 if mount.name in reported else None)
            reported.add(mount.name)
            for other, (_, detail, hint) in secrets:
                yield _violation(pointer, detail, other, hint)


def _other_account(token_account: str, own_account: str | None) -> str | None:
    """Return the account of a token, or None if it is the object's own."""
    return None if token_account == own_account else token_account


def _has_token(source: SecretSource) -> bool:
    """Return whether the token is among the keys that a field refers to."""
    keys = named_keys(source)
    return not keys or _TOKEN in keys


def _content(source: SecretSource, secret: str, other_account: str | None) -> str:
    """Return what a field refers to: the token in a Secret, or other keys of it."""
    owner = f" of {quote(other_account)}" if other_account else ""
    if _has_token(source):
        return f"the long-lived token{owner} in Secret {quote(secret)}"
    keys = named_keys(source)
    return f"{'key' if len(keys) == 1 else 'keys'} {listing(keys)} of the legacy Secret {quote(secret)}{owner}"


def _hint(source: SecretSource) -> str:
    """Return what to use instead of the keys that a field refers to."""
    if _has_token(source):
        return _HINT
    keys = named_keys(source)
    sources = [_OTHER_SOURCES[key] for key in keys if key in _OTHER_SOURCES]
    if others := [key for key in keys if key not in _OTHER_SOURCES]:
        sources.append(f"another Secret for {listing(others)}")
    return f"use {', '.join(sources)}"


def _violation(pointer: str, detail: str, other_account: str | None, hint: str) -> Violation:
    return Violation(pointer, detail, hint, other_account=other_account)


RULE: Rule = Rule(
    name="legacy-token-reference",
    summary="a field refers to a Secret of type kubernetes.io/service-account-token",
    explanation="""\
Such a Secret contains a token that never expires. Anyone who can read the pod's environment or files, or a copy of
them, can use the token from then on. The token does not show who leaked it.

What to do: project a token into the pod. It belongs to the same account, is short-lived, and the kubelet refreshes it:

    volumes:
    - name: token
      projected:
        sources:
        - serviceAccountToken: {path: token, audience: https://vault.example.com, expirationSeconds: 3600}

With the action `patch`, a `secret` volume with a token of the pod's own account is replaced by the projection
(token, ca.crt, namespace) at the same path. Some references have no equivalent, so the pod is denied: a token of
another account, a volume that sets a mode for the file `token` only, a Secret that is a source of a projected volume,
and an environment variable.

A field that reads only other keys of the Secret is a violation, too, because the Secret cannot be deleted as long as it
is used. The ConfigMap kube-root-ca.crt, which every namespace has, contains the same ca.crt, and the downward API
(`fieldRef: {fieldPath: metadata.namespace}`) the namespace.

A ServiceAccount that lists such a Secret under `secrets` causes only a warning, because its pods are evaluated.""",
    subjects=PODS_AND_EPHEMERAL_CONTAINERS | {Subject.SERVICE_ACCOUNT},
    default=Action.REJECT,
    optional_actions=(Action.PATCH,),
    check=check,
    checks_by_subject={Subject.SERVICE_ACCOUNT: check_account},
)
