"""The tokens in a pod, before and after the policy's patch."""

from collections.abc import Iterator

from webhook.core import lifetimes
from webhook.core.decision import Decision
from webhook.core.json_patch import Append, Edit, Put, Remove, json_path
from webhook.core.pod_context import PodView
from webhook.core.policy.model import Action
from webhook.core.secret_refs import secrets_of, secrets_read_by
from webhook.scan.evaluation_result import PodToken


def tokens_of(view: PodView) -> tuple[PodToken, ...]:
    """Return the tokens of a pod, including the legacy ones that it names."""
    return _sorted([*_projected(view, ()), *(_legacy(pointer, name) for pointer, name in legacy_references(view))])


def tokens_after(view: PodView, decision: Decision) -> tuple[PodToken, ...]:
    """Return the tokens of the evaluated pod after the decision's patch."""
    edits = [
        edit
        for finding in decision.findings
        if finding.action is Action.PATCH
        for edit in finding.violation.fix
    ]  # fmt: skip
    removed = {edit.pointer for edit in edits if isinstance(edit, Remove)}
    kept = (_legacy(pointer, name) for pointer, name in legacy_references(view) if pointer not in removed)
    return _sorted([*_projected(view, edits), *kept, *_added(view, edits)])


def legacy_references(view: PodView) -> Iterator[tuple[str, str]]:
    """Yield the JSON Pointers of fields that name legacy Secrets, each with the Secret's name."""
    if not view.legacy_tokens:
        return
    for number, volume in enumerate(view.volumes):
        for field, name in secrets_of(volume):
            if name in view.legacy_tokens:
                yield f"/spec/volumes/{number}/{field}", name
    for placed in view.containers:
        for field, name in secrets_read_by(placed.container):
            if name in view.legacy_tokens:
                yield f"{placed.pointer}/{field}", name


def _projected(view: PodView, edits: "list[Edit] | tuple[()]") -> Iterator[PodToken]:
    put = {edit.pointer: edit.value for edit in edits if isinstance(edit, Put)}
    removed = {edit.pointer for edit in edits if isinstance(edit, Remove)}
    for token in view.tokens:
        if f"/spec/volumes/{token.volume_number}" not in removed:
            at = f"{token.pointer}/serviceAccountToken"
            yield _token(
                view,
                token.pointer,
                put.get(f"{at}/audience", token.projection.audience),
                put.get(f"{at}/expirationSeconds", token.projection.expiration_seconds),
                own=token.api_server_own,
            )


def _added(view: PodView, edits: list[Edit]) -> Iterator[PodToken]:
    """Yield the tokens in volumes that a patch adds."""
    following = len(view.volumes)
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
                yield _token(view, at, token.get("audience"), token.get("expirationSeconds"))


def _token(view: PodView, pointer: str, audience: str | None, asked: int | None, *, own: bool = False) -> PodToken:
    for_api_server = view.for_api_server(audience)
    lifetime = lifetimes.projected(asked, for_api_server=for_api_server)
    return PodToken("" if for_api_server else audience or "", lifetime, json_path(pointer), own)


def _legacy(pointer: str, secret: str) -> PodToken:
    return PodToken("", None, json_path(pointer), secret=secret)


def _sorted(tokens: list[PodToken]) -> tuple[PodToken, ...]:
    return tuple(sorted(tokens, key=lambda token: token.path))
