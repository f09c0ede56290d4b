"""The files of a namespace: README.md with the checklist, a patch for each object, a kustomization with all patches."""

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

import jinja2

from webhook.core.documents.yaml_writer import write_document
from webhook.core.formatting import counted
from webhook.formatters.migrate import CHECKLIST, commands
from webhook.formatters.migrate.markdown import cell, code, codes, escape, message
from webhook.formatters.scan_findings import grants_text
from webhook.formatters.scan_summary import last_use_text
from webhook.migrate.plan import NamespaceMigration
from webhook.migrate.plan_builder import ManualChange, Reason
from webhook.migrate.workload_plan import PatchFile, WorkloadMigration
from webhook.scan.report import LegacySecret
from webhook.tokens.humanize import humanize_seconds

_KUSTOMIZATION = "kustomization.yaml"
_EMPTY_LINES = re.compile(r"\n{3,}")


def namespace_files(plan: NamespaceMigration, *, is_complete: bool = True) -> Mapping[str, str]:
    """Return the files by their names; `is_complete` says that everything could be read that may name a Secret."""
    written = {patch.name: _document(patch.document) for patch in plan.patches}
    if written:
        written[_KUSTOMIZATION] = _document(
            {
                "apiVersion": "kustomize.config.k8s.io/v1alpha1",
                "kind": "Component",
                "patches": [{"path": patch.name, "target": _target(patch)} for patch in plan.patches],
            }
        )
    return {**written, CHECKLIST: _checklist(plan, is_complete=is_complete)}


def _document(value: object) -> str:
    return write_document(value).removeprefix("---\n")


def _target(patch: PatchFile) -> dict[str, str]:
    """Return the target of a patch: without a namespace, which kustomize may set later; the name is a pattern there."""
    group = {"group": patch.group} if patch.group else {}
    return {**group, "version": patch.version, "kind": patch.kind, "name": re.escape(patch.object_name)}


def _checklist(plan: NamespaceMigration, *, is_complete: bool) -> str:
    known = plan.accounts_with_tokens.items()

    def users(secret: LegacySecret) -> list[str]:
        return [found.title for found in plan.workloads if secret.name in found.secrets]

    page = _template().render(
        plan=plan,
        is_complete=is_complete,
        names=[secret.name for secret in plan.secrets],
        changes=any(workload.plan.changes for workload in plan.workloads),
        lifetime=humanize_seconds(plan.lifetime),
        powers={name: grants_text(account.grants) for name, account in known if account.grants is not None},
        users=users,
        last_use=last_use_text,
        seen=_seen,
        other_accounts=_other_accounts,
        pods=lambda workload: sorted({pod for found in workload.seen for pod in found.pods}),
        commands=commands,
    )
    return _EMPTY_LINES.sub("\n\n", page)


def _seen(workload: WorkloadMigration) -> str:
    return ", ".join(f"{code(found.path)} with Secret {code(found.secret)}" for found in workload.seen)


def _other_accounts(workload: WorkloadMigration) -> dict[str, list[ManualChange]]:
    """Return the fields with tokens of other accounts, by the account."""
    found: dict[str, list[ManualChange]] = {}
    for left in workload.plan.manual:
        if left.reason is Reason.OTHER_ACCOUNT:
            found.setdefault(left.account, []).append(left)
    return found


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(  # noqa: S701 - Markdown; the filters escape it
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {
        "cell": cell,
        "code": code,
        "codes": codes,
        "counted": counted,
        "escape": escape,
        "message": message,
    }
    return environment.from_string((files(__package__) / "checklist.md").read_text("utf-8"))
