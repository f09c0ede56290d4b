"""The files of a migration: an index, and of each namespace a checklist, patches and a kustomization with them."""

import datetime as dt
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from importlib.resources import files

import jinja2

from webhook.core.documents.yaml_writer import with_file_modes, write_document
from webhook.core.formatting import counted
from webhook.formatters.migrate import CHECKLIST, commands
from webhook.formatters.migrate.markdown import cell, code, codes, escape, message
from webhook.formatters.migrate.summary import changes_text
from webhook.formatters.scan_findings import grants_text
from webhook.formatters.scan_summary import last_use_text
from webhook.legacy.retirable import AFTER_DAYS
from webhook.migrate.plan import Migration, NamespaceMigration
from webhook.migrate.plan_builder import ManualChange, Reason
from webhook.migrate.workload_plan import PatchFile, WorkloadMigration, safe_name
from webhook.scan.report import LegacySecret
from webhook.tokens.humanize import humanize_seconds

_KUSTOMIZATION = "kustomization.yaml"
_KUBERNETES_LABEL = re.compile(r"^(?:[^/]*\.)?(?:kubernetes|k8s)\.io/")
_EMPTY_LINES = re.compile(r"\n{3,}")


def namespace_files(plan: NamespaceMigration, migration: Migration) -> Mapping[str, str]:
    """Return the files of a namespace by their names."""
    written = {patch.name: _document(patch.document) for patch in plan.patches}
    if written:
        written[_KUSTOMIZATION] = _document(
            {
                "apiVersion": "kustomize.config.k8s.io/v1alpha1",
                "kind": "Component",
                "patches": [{"path": patch.name, "target": _target(patch)} for patch in plan.patches],
            }
        )
    return {**written, CHECKLIST: _checklist(plan, migration)}


def index(migration: Migration, others: Collection[str]) -> str:
    """Return the page that says for whom each folder is; `others` are folders of earlier runs."""
    plans = sorted(migration.namespaces, key=lambda plan: (plan.is_done, plan.namespace))
    page = _template("index.md").render(
        plans=plans, migration=migration, others=others, changes=changes_text, deployed_by=_deployed_by,
        folder=safe_name, labels=_own_labels,
    )  # fmt: skip
    return _EMPTY_LINES.sub("\n\n", page)


def _own_labels(plan: NamespaceMigration) -> list[str]:
    """Return the labels of a namespace that are not Kubernetes' own: they often name a team."""
    return [f"{key}={value}" for key, value in sorted(plan.labels) if not _KUBERNETES_LABEL.search(key)]


def _deployed_by(plan: NamespaceMigration) -> list[str]:
    return sorted({workload.deployed_by for workload in plan.workloads} - {""})


def _document(value: object) -> str:
    return write_document(with_file_modes(value)).removeprefix("---\n")


def _target(patch: PatchFile) -> dict[str, str]:
    """Return the target of a patch: without a namespace, which kustomize may set later; the name is a pattern there."""
    group = {"group": patch.group} if patch.group else {}
    return {**group, "version": patch.version, "kind": patch.kind, "name": re.escape(patch.object_name)}


def _checklist(plan: NamespaceMigration, migration: Migration) -> str:
    accounts = plan.accounts_with_tokens.items()
    users = {name for workload in plan.workloads for name in workload.secrets}

    def named_by(secret: str) -> list[str]:
        workloads = [workload.title for workload in plan.workloads if secret in workload.secrets]
        listing = (account.name for account in plan.accounts if secret in {*account.listed, *account.pulled})
        return [*workloads, *(f"ServiceAccount/{name}" for name in listing)]

    copies = [secret.name for secret in plan.secrets if secret.is_copy]
    disabled_on = {secret.name: secret.invalid_since for secret in plan.secrets if secret.invalid_since}
    valid = [secret for secret in plan.secrets if not (secret.is_copy or secret.invalid_since)]
    page = _template("checklist.md").render(
        plan=plan,
        migration=migration,
        names=[secret.name for secret in plan.secrets],
        adds_tokens=any(workload.plan.adds_tokens for workload in plan.workloads),
        lifetime=humanize_seconds(plan.lifetime),
        powers={name: grants_text(account.grants) for name, account in accounts if account.grants is not None},
        named_by=named_by,
        nobody="none of these manifests" if migration.from_manifests else "nothing",
        unnamed=_by_day((secret.name for secret in valid if secret.name not in users), plan.unused_from),
        named=_by_day((secret.name for secret in valid if secret.name in users), plan.unused_from),
        disabled=_by_day((name for name in disabled_on if name not in copies), disabled_on),
        disabled_on=disabled_on,
        after=dt.timedelta(days=AFTER_DAYS),
        copies=copies,
        last_use=_last_use,
        seen=_seen,
        other_accounts=_other_accounts,
        pods=lambda workload: sorted({pod for reference in workload.seen for pod in reference.pods}),
        commands=commands,
    )
    return _EMPTY_LINES.sub("\n\n", page)


def _by_day(names: Iterable[str], days: Mapping[str, dt.date]) -> list[tuple[dt.date | None, list[str]]]:
    """Return the names by their day; first those without one."""
    by_day: dict[dt.date | None, list[str]] = {}
    for name in names:
        by_day.setdefault(days.get(name), []).append(name)
    return sorted(by_day.items(), key=lambda item: item[0] or dt.date.min)


def _last_use(secret: LegacySecret) -> str:
    disabled = f"; disabled since {secret.invalid_since}" if secret.invalid_since else ""
    return f"{last_use_text(secret)}{disabled}"


def _seen(workload: WorkloadMigration) -> str:
    return ", ".join(f"{code(reference.path)} with Secret {code(reference.secret)}" for reference in workload.seen)


def _other_accounts(workload: WorkloadMigration) -> dict[str, list[ManualChange]]:
    """Return the fields with tokens of other accounts, by the account."""
    changes: dict[str, list[ManualChange]] = {}
    for left in workload.plan.manual:
        if left.reason is Reason.OTHER_ACCOUNT:
            changes.setdefault(left.account, []).append(left)
    return changes


@cache
def _template(name: str) -> jinja2.Template:
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
    return environment.from_string((files(__package__) / name).read_text("utf-8"))
