"""The commands in a checklist: to apply a change and to verify it. Every name is quoted for the shell."""

import shlex
from collections.abc import Iterable

from webhook.core.formatting import plain
from webhook.migrate.workload_plan import AccountMigration, WorkloadMigration, resource_name

_ROLLING = frozenset({("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet")})
_REFERENCES = ("secretName", "secretKeyRef.name", "secretRef.name", "secret.name", "nodePublishSecretRef.name",
               "imagePullSecrets[*].name")  # fmt: skip
"""The fields that name a Secret, at any depth."""
_LINE = 100
"""Characters in a line of a command that goes on in the next one."""


def apply_commands(workload: WorkloadMigration) -> list[str]:
    """Return the commands that apply the patch of a workload; none for a Job, whose template cannot be changed."""
    patch = workload.patch
    if patch is None or (workload.group, workload.kind) == ("batch", "Job"):
        return []
    target, file = _target(workload), quoted(patch.name)
    if (workload.group, workload.kind) == ("", "Pod"):
        return [
            f"kubectl get {target} -o json | kubectl patch --local -f - --patch-file {file} -o json \\",
            "  | kubectl replace --force -f -",
        ]
    kind = "--type json " if patch.is_json_patch else ""
    return [f"kubectl patch {target} {kind}--patch-file {file}"]


def verify_commands(workload: WorkloadMigration) -> list[str]:
    """Return the commands that show whether a workload is migrated; the last one prints nothing then."""
    is_pod = (workload.group, workload.kind) == ("", "Pod")  # an account may add its own imagePullSecrets
    fields = " ".join(f"{{..{field}}}" for field in _REFERENCES[: -1 if is_pod else None])
    status = [f"kubectl rollout status {_target(workload)}"] if _is_rolling(workload) else []
    return [
        *status,
        f"kubectl get {_target(workload)} -o jsonpath='{fields}' \\",
        f"  | tr ' ' '\\n' | grep -xF {_patterns(workload.secrets)}",
    ]


def restart_commands(workload: WorkloadMigration, pods: Iterable[str]) -> list[str]:
    """Return the command that replaces running pods of a workload."""
    if _is_rolling(workload) and not workload.updates_on_delete:
        return [f"kubectl rollout restart {_target(workload)}"]
    return [f"kubectl delete pod {' '.join(map(quoted, pods))} -n {quoted(workload.namespace)}"]


def search_commands(title: str, workload: WorkloadMigration) -> list[str]:
    """Return the command that shows where the object with this title names the Secrets of a workload."""
    kind, _, name = title.partition("/")
    where = f"{quoted(kind.lower())} {quoted(name)} -n {quoted(workload.namespace)}"
    return [f"kubectl get {where} -o yaml | grep -nF {_patterns(workload.secrets)}"]


def account_commands(account: AccountMigration) -> list[str]:
    """Return the command that applies the patch of a ServiceAccount."""
    where = f"{quoted(account.name)} -n {quoted(account.namespace)}"
    return [f"kubectl patch serviceaccount {where} --patch-file {quoted(account.patch.name)}"]


def kinds_commands(namespace: str, secrets: Iterable[str]) -> list[str]:
    """Return the commands that print the kinds of which an object in a namespace names one of the Secrets."""
    kinds = "kubectl api-resources --namespaced --verbs=list -o name | grep -vE '^(secrets|pods|events)'"
    matches = f"kubectl get $kind -n {quoted(namespace)} -o yaml | grep -qwF {_patterns(secrets)}"
    return [f"for kind in $({kinds}); do", f"  {matches} && echo $kind", "done"]


def pull_secrets_commands(namespace: str) -> list[str]:
    """Return the command that lists the Secrets for pulling images in a namespace."""
    return [f"kubectl get secrets -n {quoted(namespace)} | grep kubernetes.io/dockerc"]


def bindings_command(namespace: str, account: str) -> str:
    """Return the command that shows the bindings of a ServiceAccount."""
    account_column = quoted(f"{namespace}/{account}")
    return f"kubectl get rolebindings,clusterrolebindings -A -o wide | grep -wF {account_column}"


def disable_commands(namespace: str, secrets: Iterable[str]) -> list[str]:
    """Return the command that makes the tokens of Secrets invalid, reversibly."""
    command = "tokenguard legacy disable --reason 'migrated to projected tokens'"
    return _with_arguments(command, (quoted(f"{namespace}/{secret}") for secret in secrets))


def delete_commands(namespace: str, secrets: Iterable[str]) -> list[str]:
    """Return the command that deletes disabled Secrets."""
    return _with_arguments("tokenguard legacy delete", (quoted(f"{namespace}/{secret}") for secret in secrets))


def _with_arguments(command: str, arguments: Iterable[str]) -> list[str]:
    """Return a command with arguments, in lines of a readable length."""
    lines = [command]
    for argument in arguments:
        if len(f"{lines[-1]} {argument}") > _LINE:
            lines[-1] += " \\"
            lines.append(f"  {argument}")
        else:
            lines[-1] += f" {argument}"
    return lines


def quoted(value: str) -> str:
    """Return a value as one word of a shell."""
    return shlex.quote(plain(value))


def _patterns(secrets: Iterable[str]) -> str:
    return " ".join(f"-e {quoted(secret)}" for secret in secrets)


def _target(workload: WorkloadMigration) -> str:
    kind = quoted(resource_name(workload.group, workload.kind))
    return f"{kind} {quoted(workload.name)} -n {quoted(workload.namespace)}"


def _is_rolling(workload: WorkloadMigration) -> bool:
    return (workload.group, workload.kind) in _ROLLING
