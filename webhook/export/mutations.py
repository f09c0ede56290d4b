"""What the API server itself patches in pods, as the mutating webhook does.

Needs CEL's comprehensions with two variables, and so Kubernetes 1.33 or newer.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from webhook.core.policy.model import Action, Injection, Mode
from webhook.core.rules import api_token_automount, inject, token_audience, token_expiration
from webhook.export import cel, pod_rules
from webhook.export import inject as inject_rule
from webhook.export import pod_expressions as pods
from webhook.export.check import CompilerInput
from webhook.export.scopes import Variables


def variables(given: CompilerInput) -> Variables:
    """Yield what the patches use."""
    yield from inject_rule.variables(given)
    yield from pods.token_variables()
    yield from pod_rules.lifetime_variables(given)
    yield from pod_rules.automount_variables()


def patches(given: CompilerInput) -> Iterator[str]:
    """Yield the patches, in the order in which the webhook applies them."""
    yield from _caps(given)
    yield from _default_audiences(given)
    yield from _removals(given)
    for number, injection in enumerate(given.policy.injections):
        yield from _injection(given, number, injection)


def _where(given: CompilerInput, rule: str, *actions: Action, default: str | None = None) -> str:
    """Return whether the request is in a scope in which the rule patches, with this default, and isn't exempt."""
    scopes = [
        scope
        for scope, settings in given.scopes.settings.items()
        if settings.mode is Mode.ENFORCE
        and settings.rules[rule] in actions
        and default in {None, settings.tokens.audiences.default}
    ]
    return cel.all_of((given.scopes.where(scopes), cel.negated(given.scopes.exempt(rule, pods.ACCOUNTS))))


def _patch(where: str, operations: str) -> Iterator[str]:
    if where != cel.FALSE:
        yield f"{where} ? {operations} : []" if where != cel.TRUE else operations


def _each_token(condition: str, member: str, value: str, read: str) -> str:
    """Return the operations that set a member of the tokens for which a condition holds.

    `value` is the value's text, `read` the value, given the text `value`. CEL cannot join lists, only texts: so a place
    and its value are words of a line.
    """
    where = cel.all_of((pods.IS_TOKEN, condition))
    line = f"string(index) + '/projected/sources/' + string(number) + ' ' + {value}"
    of_volume = f"{pods.SOURCES}.transformList(number, source, {where}, {line}).join('\\n')"
    places = cel.flattened(f"variables.volumes.transformList(index, volume, {of_volume})")
    path = f"'/spec/volumes/' + place.split(' ')[0] + '/serviceAccountToken/{member}'"
    value_of_place = read.replace("value", "place.split(' ')[1]")
    return f"{places}.map(place, JSONPatch{{op: 'add', path: {path}, value: {value_of_place}}})"


def _caps(given: CompilerInput) -> Iterator[str]:
    rule = token_expiration.RULE.name
    for is_api_token, actions in ((False, (Action.PATCH,)), (True, (Action.PATCH, Action.REJECT))):
        kind = pods.IS_API_TOKEN if is_api_token else cel.negated(pods.IS_API_TOKEN)
        condition = cel.all_of((kind, pod_rules.is_too_long(given)))
        operations = _each_token(condition, "expirationSeconds", f"string({pod_rules.cap(given)})", "int(value)")
        yield from _patch(_where(given, rule, *actions), operations)


def _default_audiences(given: CompilerInput) -> Iterator[str]:
    rule = token_audience.RULE.name
    for default in dict.fromkeys(settings.tokens.audiences.default for settings in given.scopes.settings.values()):
        if default is not None:
            lacks = (pod_rules.lacks_audience(given), cel.negated(pod_rules.collides(given, default)))
            operations = _each_token(cel.all_of(lacks), "audience", cel.string(default), "value")
            yield from _patch(_where(given, rule, Action.PATCH, default=default), operations)


def _removals(given: CompilerInput) -> Iterator[str]:
    rule = api_token_automount.RULE.name
    removed = pod_rules.is_unrequested_mount()
    names = f"variables.volumes.filter(volume, {removed}).map(volume, volume.name)"
    places = []
    for kind, every in pods.CONTAINERS.items():
        mounts = (
            f"{pods.MOUNTS}.transformList(number, mount, mount.name in {names},"
            f" '/spec/{kind}/' + string(index) + '/volumeMounts/' + string(number)).join('\\n')"
        )
        places.append(_last_first(cel.flattened(f"{every}.transformList(index, container, {mounts})")))
    volumes = f"variables.volumes.transformList(index, volume, {removed}, '/spec/volumes/' + string(index))"
    places.append(_last_first(volumes))
    off = "JSONPatch{op: 'add', path: '/spec/automountServiceAccountToken', value: false}"
    removals = " + ".join(f"{path}.map(place, JSONPatch{{op: 'remove', path: place}})" for path in places)
    yield from _patch(
        cel.all_of((_where(given, rule, Action.PATCH), f"{names}.size() > 0")),
        f"[{off}] + {removals}",
    )


def _last_first(places: str) -> str:
    """Return a list in reverse, so that a removal changes no index of a later one."""
    return f"[{places}].map(places, places.transformList(number, place, places[places.size() - 1 - number]))[0]"


def _injection(given: CompilerInput, number: int, injection: Injection) -> Iterator[str]:
    rule = inject.RULE.name
    is_possible = f"{inject_rule.is_checked(number)} && !variables.conflicts{number}"
    where = cel.all_of((_where(given, rule, Action.PATCH), is_possible))
    volumes = "(has(object.spec.volumes) ? [] : [JSONPatch{op: 'add', path: '/spec/volumes', value: []}])"
    volume = f"JSONPatch{{op: 'add', path: '/spec/volumes/-', value: {_volume(given, injection)}}}"
    operations = [f"(variables.injected{number} ? [] : {volumes} + [{volume}])"]
    for kind in pods.CONTAINERS:
        at_path = f"{pods.MOUNTS}.exists(mount, {pods.is_mounted_at(injection.clean_mount_path)})"
        operations.append(_appended(kind, "volumeMounts", f"!{at_path}", _value(injection.mount)))
        if injection.env:
            is_set = f"container.?env.orValue([]).exists(variable, variable.name == {cel.string(injection.env)})"
            operations.append(_appended(kind, "env", f"!{is_set}", _value(injection.variable)))
    yield from _patch(where, " + ".join(operations))


def _appended(kind: str, field: str, condition: str, value: str) -> str:
    """Return the operations that append a value to a list of each container for which a condition holds."""
    path = f"'/spec/{kind}/' + string(index) + '/{field}'"
    new = f"JSONPatch{{op: 'add', path: {path}, value: [{value}]}}"
    appended = f"JSONPatch{{op: 'add', path: {path} + '/-', value: {value}}}"
    where = f"{inject_rule.IS_TARGET} && {condition}"
    return (
        f"{pods.CONTAINERS[kind]}.transformList(index, container, {where}, has(container.{field}) ? {appended} : {new})"
    )


def _volume(given: CompilerInput, injection: Injection) -> str:
    for_api_server = injection.audience in given.api_audiences
    lifetimes = [
        str(injection.lifetime(settings.tokens.max_expiration_seconds, for_api_server=for_api_server))
        for settings in given.scopes.settings.values()
    ]
    lifetime, audience = given.scopes.value(lifetimes), cel.string(injection.audience)
    path = cel.string(injection.path)
    token = f"{{'audience': dyn({audience}), 'expirationSeconds': dyn({lifetime}), 'path': dyn({path})}}"
    sources = f"[{{'serviceAccountToken': {token}}}]"
    return f"{{'name': dyn({cel.string(injection.volume)}), 'projected': dyn({{'sources': {sources}}})}}"


def _value(entry: Mapping[str, Any]) -> str:
    """Return a map of strings and booleans."""
    values = (
        f"{cel.string(key)}: dyn({str(value).lower() if isinstance(value, bool) else cel.string(value)})"
        for key, value in entry.items()
    )
    return f"{{{', '.join(values)}}}"
