"""CEL expressions that the rules for pods share: variables with the parts of a pod, and loops over these parts."""

from collections.abc import Callable

from webhook.core.pod_context import API_TOKEN_PATH, API_TOKEN_VOLUME
from webhook.core.policy.model import Injection
from webhook.export import cel
from webhook.export.check import CompilerInput
from webhook.export.paths import WINDOWS_STYLE, mount_path, windows_mount_path
from webhook.export.scopes import Variables

ACCOUNTS = ("variables.account",)
SOURCES = "optional.ofNonZeroValue(volume.?projected.?sources.orValue([])).orValue([])"  # it may be null
TOKEN = "source.serviceAccountToken"  # noqa: S105 - a field
IS_TOKEN = f"has({TOKEN})"
AUDIENCE = f"{TOKEN}.?audience.orValue('')"
SECONDS = f"{TOKEN}.?expirationSeconds.orValue(3600)"
IS_API_TOKEN = "volume.name in variables.apiVolumes"  # noqa: S105 - a condition
IS_KUBERNETES_OWN = f"volume.name.startsWith({cel.string(API_TOKEN_VOLUME)})"
VOLUME_PATH = "'spec.volumes[' + string(variables.volumes.indexOf(volume)) + ']'"
SOURCE_PATH = f"{VOLUME_PATH} + '.projected.sources[' + string({SOURCES}.indexOf(source)) + ']'"
MOUNTS = "container.?volumeMounts.orValue([])"
MOUNT_PATH = "$path"
CONTAINERS = {kind: f"object.spec.?{kind}.orValue([])" for kind in ("initContainers", "containers")}
"""The lists of containers, by their field; none of ephemeral containers, which a new pod does not have."""
BY_SUB_PATH = "mount.?subPath.orValue('') != '' || mount.?subPathExpr.orValue('') != ''"


def pod_variables() -> Variables:
    """Yield the parts of a pod."""
    yield "account", "object.spec.?serviceAccountName.orValue('default')"
    yield "volumes", "object.spec.?volumes.orValue([])"
    yield "containers", "object.spec.?initContainers.orValue([]) + object.spec.containers"


def token_variables() -> Variables:
    """Yield the volumes with tokens, and the names of those that contain the API server's own token."""
    yield from windows_variable()
    yield "tokenVolumes", f"variables.volumes.filter(volume, {SOURCES}.exists(source, {IS_TOKEN}))"
    mounted = f"{MOUNTS}.exists(mount, mount.name == volume.name)"
    at_path = cel.all_of((is_mounted_at(API_TOKEN_PATH), cel.negated(BY_SUB_PATH)))
    only_there = f"{MOUNTS}.all(mount, mount.name != volume.name || ({at_path}))"
    conditions = (
        f"{SOURCES}.filter(source, {IS_TOKEN}).size() == 1",
        f"{SOURCES}.filter(source, {IS_TOKEN}).all(source, {AUDIENCE} == '')",
        f"variables.containers.exists(container, {mounted})",
        f"variables.containers.all(container, {only_there})",
    )
    names = f"variables.tokenVolumes.filter(volume, {cel.all_of(conditions)}).map(volume, volume.name)"
    yield "apiVolumes", names


def windows_variable() -> Variables:
    """Yield whether the pod says that it runs on Windows."""
    named = "object.spec.?nodeSelector[?'kubernetes.io/os'].orValue('')"
    yield "windows", f"object.spec.?os.?name.orValue({named}) == 'windows'"


def is_mounted_at(path: str) -> str:
    """Return whether a mount is at a cleaned path, however it is written."""
    return is_path("mount.mountPath", path)


def is_path(written: str, path: str) -> str:
    """Return whether a path of a container, however it is written, is a cleaned one."""
    linux = cel.matches(written, (mount_path(path),))
    on_windows = cel.any_of(("variables.windows", cel.matches(written, (WINDOWS_STYLE,))))
    windows = cel.matches(written, (windows_mount_path(path),))
    return f"{written} == {cel.string(path)} || {linux} || (({on_windows}) && {windows})"


def each_token(condition: str) -> Callable[[str], str]:
    """Return the lines about the tokens for which a condition on `volume` and `source` holds."""
    where = cel.all_of((IS_TOKEN, condition))

    def lines(line: str) -> str:
        of_volume = f"{SOURCES}.filter(source, {where}).map(source, {line}).join('\\n')"
        return cel.flattened(f"variables.tokenVolumes.map(volume, {of_volume})")

    return lines


def each_volume(condition: str) -> Callable[[str], str]:
    """Return the lines about the volumes for which a condition on `volume` holds."""
    return lambda line: f"variables.volumes.filter(volume, {condition}).map(volume, {line})"


def each_mount(condition: str, containers: str = cel.TRUE) -> Callable[[str], str]:
    """Return the lines about the mounts for which a condition on `container` and `mount` holds.

    In the line, `MOUNT_PATH` is a placeholder for the path of the mount.
    """

    def lines_of(every: str, path: str, line: str) -> str:
        mount_path = f"{path}.volumeMounts[' + string({MOUNTS}.indexOf(mount)) + ']'"
        line = line.replace(MOUNT_PATH, mount_path)
        of_container = f"{MOUNTS}.filter(mount, {condition}).map(mount, {line}).join('\\n')"
        return f"({cel.flattened(f'{every}.filter(container, {containers}).map(container, {of_container})')})"

    return _of_each_kind(lines_of)


def each_container(condition: str, suffix: str = "") -> Callable[[str], str]:
    """Return the lines about the containers for which a condition on `container` holds.

    In the line, `MOUNT_PATH` is a placeholder for the path of the container with the suffix.
    """

    def lines_of(every: str, path: str, line: str) -> str:
        line = line.replace(MOUNT_PATH, f"{path}{suffix}'")
        return f"{every}.filter(container, {condition}).map(container, {line})"

    return _of_each_kind(lines_of)


def _of_each_kind(lines_of: Callable[[str, str, str], str]) -> Callable[[str], str]:
    """Return the lines about the containers of every kind, given their list, the beginning of a path, and a line."""
    paths = {every: f"'spec.{kind}[' + string({every}.indexOf(container)) + ']" for kind, every in CONTAINERS.items()}
    return lambda line: " + ".join(lines_of(every, path, line) for every, path in paths.items())


def for_api_server(given: CompilerInput) -> str:
    """Return whether the token `source` is for the API server."""
    return f"{AUDIENCE} in {cel.strings(('', *given.api_audiences))}"


def is_selected(injection: Injection) -> str:
    """Return whether a pod is to get an injection."""
    conditions = [cel.matches_globs("request.namespace", injection.namespaces)] if injection.namespaces else []
    conditions.append(cel.has_labels("namespaceObject.metadata", injection.namespace_labels))
    conditions.append(cel.has_labels("object.metadata", injection.pod_labels))
    if injection.service_accounts:
        conditions.append(cel.matches_accounts("variables.account", injection.service_accounts))
    if injection.on_request:
        conditions.append(f"{cel.string(injection.name)} in variables.requested")
    return cel.all_of(conditions)


def injection_variables(given: CompilerInput) -> Variables:
    """Yield which injections the pod requests, is to get, and contains already."""
    injections = given.policy.injections
    annotation = "object.metadata.?annotations[?'tokenguard/inject'].orValue('')"
    yield "requested", f"{annotation}.split(',').map(name, name.trim()).filter(name, name != '')"
    for number, injection in enumerate(injections):
        yield f"selected{number}", is_selected(injection)
        audience, path = cel.string(injection.audience), cel.string(injection.path)
        token = f"{IS_TOKEN} && {AUDIENCE} == {audience} && {TOKEN}.path == {path}"
        conditions = (
            f"volume.name == {cel.string(injection.volume)}",
            f"{SOURCES}.size() == 1",
            f"{SOURCES}.all(source, {token})",
        )
        yield (
            f"injected{number}",
            f"variables.selected{number} && variables.volumes.exists(volume, {cel.all_of(conditions)})",
        )
    names = ", ".join(
        f"variables.injected{number} ? {cel.string(injection.volume)} : ''"
        for number, injection in enumerate(injections)
    )
    yield "injectedVolumes", f"[{names}]" if names else "['']"
