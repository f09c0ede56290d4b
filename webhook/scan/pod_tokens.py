"""The tokens in a pod, before and after the policy's patch."""

from collections.abc import Iterator

from webhook.core import lifetimes
from webhook.core.decision import Decision
from webhook.core.json_patch import Append, Edit, Put, Remove, json_path
from webhook.core.pod_context import PodContext, TokenSource
from webhook.core.policy.model import Action
from webhook.core.secret_refs import container_secrets, volume_secrets
from webhook.scan.evaluation_result import PodToken


def tokens_of(context: PodContext) -> tuple[PodToken, ...]:
    """Return the tokens of a pod, including the legacy ones that it names."""
    return _sorted(
        [*_projected(context, ()), *(_legacy(pointer, name) for pointer, name in legacy_references(context))]
    )


def tokens_after(context: PodContext, decision: Decision) -> tuple[PodToken, ...]:
    """Return the tokens of the evaluated pod after the decision's patch."""
    edits = [
        edit
        for finding in decision.findings
        if finding.action is Action.PATCH
        for edit in finding.violation.edits
    ]  # fmt: skip
    removed = {edit.pointer for edit in edits if isinstance(edit, Remove)}
    remaining = (_legacy(pointer, name) for pointer, name in legacy_references(context) if pointer not in removed)
    return _sorted([*_projected(context, edits), *remaining, *_added(context, edits)])


def legacy_references(context: PodContext) -> Iterator[tuple[str, str]]:
    """Yield the JSON Pointers of fields that name legacy Secrets, each with the Secret's name."""
    if not context.legacy_tokens:
        return
    for number, volume in enumerate(context.volumes):
        for field, name, _ in volume_secrets(volume):
            if name in context.legacy_tokens:
                yield f"/spec/volumes/{number}/{field}", name
    for placed in context.containers:
        for field, name, _ in container_secrets(placed.container):
            if name in context.legacy_tokens:
                yield f"{placed.pointer}/{field}", name


def _projected(context: PodContext, edits: "list[Edit] | tuple[()]") -> Iterator[PodToken]:
    put = {edit.pointer: edit.value for edit in edits if isinstance(edit, Put)}
    removed = {edit.pointer for edit in edits if isinstance(edit, Remove)}
    for token in context.tokens:
        if f"/spec/volumes/{token.volume_number}" not in removed:
            at = f"{token.pointer}/serviceAccountToken"
            yield _token(
                context,
                token.pointer,
                put.get(f"{at}/audience", token.projection.audience),
                put.get(f"{at}/expirationSeconds", token.projection.expiration_seconds),
                own=_is_automounted(context, token),
            )


def _is_automounted(context: PodContext, token: TokenSource) -> bool:
    """Return whether Kubernetes mounts the token: its author has neither written the volume nor opted out."""
    return token.is_api_token and not token.authored and context.pod.spec.automount_service_account_token is not False


def _added(context: PodContext, edits: list[Edit]) -> Iterator[PodToken]:
    """Yield the tokens in volumes that a patch adds."""
    following = len(context.volumes)
    for edit in edits:
        if isinstance(edit, Append) and edit.pointer == "/spec/volumes":
            pointer, source = f"/spec/volumes/{following}", edit.value["projected"]
            following += 1
        elif isinstance(edit, Put) and edit.pointer.endswith("/projected"):
            pointer, source = edit.pointer.removesuffix("/projected"), edit.value
        else:
            continue
        for number, projected in enumerate(source["sources"]):
            if token := projected.get("serviceAccountToken"):
                at = f"{pointer}/projected/sources/{number}"
                yield _token(context, at, token.get("audience"), token.get("expirationSeconds"))


def _token(
    context: PodContext, pointer: str, audience: str | None, requested: int | None, *, own: bool = False
) -> PodToken:
    for_api_server = context.for_api_server(audience)
    lifetime = lifetimes.effective_lifetime(requested, for_api_server=for_api_server)
    named = audience or ""
    other, api_audience = ("", named) if for_api_server else (named, "")
    return PodToken(other, lifetime, json_path(pointer), own, api_audience=api_audience)


def _legacy(pointer: str, secret: str) -> PodToken:
    return PodToken("", None, json_path(pointer), secret=secret)


def _sorted(tokens: list[PodToken]) -> tuple[PodToken, ...]:
    return tuple(sorted(tokens, key=lambda token: token.path))
