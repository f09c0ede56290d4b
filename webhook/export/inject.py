"""The rule `inject`."""

from collections.abc import Callable, Iterator

from webhook.core.decision import Violation
from webhook.core.formatting import quote
from webhook.core.kinds import Subject
from webhook.core.policy.model import Action, Injection
from webhook.core.rules import inject
from webhook.export import cel
from webhook.export import pod_expressions as pods
from webhook.export.check import ANY_EDIT, CompilerInput, ExportedCheck, ExportedRule
from webhook.export.scopes import Variables

IS_TARGET = "!(container.name in variables.skipped)"
_DEVICES = "container.?volumeDevices.orValue([])"


def rules(given: CompilerInput) -> Iterator[ExportedRule]:
    """Yield the rule, unless the policy neither injects nor rejects anything."""
    injections = given.policy.injections
    checks = list(_request_checks(given))
    for number, injection in enumerate(injections):
        checks += _conflict_checks(number, injection)
        checks.append(_missing_check(number, injection))
    gap = "not fully enforced: nothing injects a token, so a pod without it is allowed"
    gaps = given.unpatched(inject.RULE.name, {gap: (Action.PATCH,)} if injections else {})
    yield ExportedRule(inject.RULE.name, Subject.POD, checks, tuple(variables(given)), gaps)


def variables(given: CompilerInput) -> Variables:
    """Yield what the checks and the mutations use."""
    yield from pods.pod_variables()
    yield from pods.windows_variable()
    yield from pods.injection_variables(given)
    annotation = "object.metadata.?annotations[?'tokenguard/skip-containers'].orValue('')"
    yield "skipped", f"{annotation}.split(',').map(name, name.trim()).filter(name, name != '')"
    injections = given.policy.injections
    selected = ", ".join(f"variables.selected{number} ? 1 : 0" for number in range(len(injections)))
    yield "targets", f"variables.containers.filter(container, {IS_TARGET})"
    yield "mounts", f"variables.targets.size() * [{selected}].sum()" if injections else "0"
    for number, injection in enumerate(injections):
        yield f"conflicts{number}", _conflicts(number, injection)


def _request_checks(given: CompilerInput) -> Iterator[ExportedCheck]:
    path = cel.string("metadata.annotations[tokenguard/inject]")
    injections = given.policy.injections
    selected = cel.any_of(
        f"variables.selected{number} && name == {cel.string(injection.name)}"
        for number, injection in enumerate(injections)
    )
    known = cel.strings(injection.name for injection in injections)
    for detail, hint, condition in (
        (inject.NOT_FOR_POD, inject.REMOVE, f"name in {known}" if injections else cel.FALSE),
        (
            inject.DOES_NOT_EXIST,
            inject.policy_has([injection.name for injection in injections]),
            f"!(name in {known})" if injections else cel.TRUE,
        ),
    ):
        where = cel.all_of((condition, cel.negated(selected)))
        yield _check(Violation("", detail, cel.fixed(hint)), {"path": path, "name": cel.quoted("name")}, _names(where))
    detail = inject.TOO_MANY.replace("{maximum}", str(inject.MAX_MOUNTS))
    values = {
        "path": cel.string("spec"),
        "containers": "string(variables.targets.size())",
        "injections": "string(variables.mounts / variables.targets.size())",
    }
    yield _check(Violation("", detail, inject.USE_FEWER), values, cel.once(f"variables.mounts > {inject.MAX_MOUNTS}"))


def _names(where: str) -> Callable[[str], str]:
    return lambda line: f"variables.requested.filter(name, {where}).map(name, {line})"


def _check(violation: Violation, values: dict[str, str], lines: Callable[[str], str]) -> ExportedCheck:
    return ExportedCheck(violation, values, lines, lines, pods.ACCOUNTS)


def is_checked(number: int) -> str:
    """Return whether a pod is to get an injection, and its containers are not too many for all of them."""
    return f"variables.selected{number} && variables.mounts <= {inject.MAX_MOUNTS}"


def _name_taken(number: int, injection: Injection) -> str:
    return f"!variables.injected{number} && volume.name == {cel.string(injection.volume)}"


def _mount_taken(injection: Injection) -> str:
    """Return whether the first mount at the injection's path is of another volume."""
    path = injection.clean_mount_path
    first = f"{pods.MOUNTS}.filter(other, {pods.is_path('other.mountPath', path)})[0] == mount"
    return f"mount.name != {cel.string(injection.volume)} && ({pods.is_mounted_at(path)}) && {first}"


def _device_taken(injection: Injection) -> str:
    return f"{_DEVICES}.exists(device, {pods.is_path('device.devicePath', injection.clean_mount_path)})"


def _stray_mount(injection: Injection) -> str:
    """Return whether a mount of the injection's volume, before that is added, is not the injection's own."""
    own = f"({pods.is_mounted_at(injection.clean_mount_path)}) && !({pods.BY_SUB_PATH})"
    return f"mount.name == {cel.string(injection.volume)} && !({own})"


def _conflicts(number: int, injection: Injection) -> str:
    """Return whether anything keeps an injection from a pod."""
    stray = f"{pods.MOUNTS}.exists(mount, {_stray_mount(injection)})"
    return cel.any_of((
        f"variables.volumes.exists(volume, {_name_taken(number, injection)})",
        f"variables.targets.exists(container, {pods.MOUNTS}.exists(mount, {_mount_taken(injection)}))",
        f"variables.targets.exists(container, {_device_taken(injection)})",
        f"!variables.injected{number} && variables.containers.exists(container, {stray})",
    ))  # fmt: skip


def _conflict_checks(number: int, injection: Injection) -> Iterator[ExportedCheck]:
    volume, name, path = (quote(text) for text in (injection.volume, injection.name, injection.mount_path))
    where = is_checked(number)
    name_taken = cel.fixed(inject.NAME_TAKEN.format(volume=volume, name=name))
    yield _check(
        Violation("", name_taken, inject.NAME_HINT),
        {"path": pods.VOLUME_PATH},
        pods.each_volume(f"{where} && {_name_taken(number, injection)}"),
    )
    violation = Violation("", cel.fixed(inject.PATH_TAKEN.format(path=path, name=name)), inject.PATH_HINT)
    taken = pods.each_mount(f"{where} && {_mount_taken(injection)}", IS_TARGET)
    yield _check(violation, {"path": pods.MOUNT_PATH}, taken)
    devices = pods.each_container(f"{IS_TARGET} && {where} && {_device_taken(injection)}", ".volumeDevices")
    yield _check(violation, {"path": pods.MOUNT_PATH}, devices)


def _missing_check(number: int, injection: Injection) -> ExportedCheck:
    detail, fix_summary = map(cel.fixed, injection.messages)
    violation = Violation("", detail, "", ANY_EDIT, fix_summary, authored=False)
    missing = f"{is_checked(number)} && !variables.injected{number} && !variables.conflicts{number}"
    return ExportedCheck(violation, {"path": cel.string("spec")}, cel.once(missing), None, pods.ACCOUNTS)
