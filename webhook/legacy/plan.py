"""What a command would change, and what it refuses: one form of plan for `disable`, `restore` and `delete`."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from webhook.core.formatting import FastStrEnum, counted, did_you_mean
from webhook.core.selectors import Accounts, Globs
from webhook.legacy.record import disabled_lately
from webhook.legacy.report import LegacyReport
from webhook.legacy.retirable import RetirableSecret, RetirementState

WAVE = 20
_KUBE_SYSTEM = "kube-system"


class Command(FastStrEnum):
    """A command that changes Secrets."""

    DISABLE = "disable"
    RESTORE = "restore"
    DELETE = "delete"


class Exclusion(FastStrEnum):
    """Why criteria do not select a Secret."""

    NAMESPACE = "another namespace"
    ACCOUNT = "another account"
    USED = "used"
    NOT_STILL_USED = "not still used"
    VALID = "not disabled"
    KUBE_SYSTEM = "kube-system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which Secrets a command takes: those named, and up to `max_count` of those that match all the other criteria.

    Names are `namespace/name`; those in `forced` are changed in spite of a reason that can be overridden.
    """

    names: frozenset[str] = frozenset()
    forced: frozenset[str] = frozenset()
    namespaces: Globs = Globs()
    accounts: Accounts = Accounts()
    unused_only: bool = False
    still_used: bool = False
    max_count: int | None = None
    reason: str = ""
    """Why; the selected Secrets that `disable` has disabled lately for the same reason are of the same wave."""

    @property
    def named(self) -> frozenset[str]:
        """All names."""
        return self.names | self.forced

    @property
    def has_criteria(self) -> bool:
        """Whether it selects Secrets that are not named."""
        return bool(self.namespaces or self.accounts or self.unused_only or self.still_used)

    def exclusions(self, secret: RetirableSecret, unused_days: int) -> Iterator[Exclusion]:
        """Yield the criteria that do not select a Secret. Of kube-system, only a namespace like it selects one."""
        if self.namespaces and not self.namespaces.match(secret.namespace):
            yield Exclusion.NAMESPACE
        if self.accounts and not self.accounts.match(secret.namespace, secret.account):
            yield Exclusion.ACCOUNT
        if self.unused_only and secret.disabled is None and _recent_use(secret, unused_days):
            yield Exclusion.USED
        if self.still_used and secret.state is not RetirementState.STILL_USED and not secret.half_restored:
            yield Exclusion.NOT_STILL_USED
        if secret.namespace == _KUBE_SYSTEM and not self._names_kube_system:
            yield Exclusion.KUBE_SYSTEM

    @property
    def _names_kube_system(self) -> bool:
        beginning = tuple(pattern for pattern in self.namespaces.patterns if pattern.startswith(_KUBE_SYSTEM))
        return Globs(beginning).match(_KUBE_SYSTEM)


def _recent_use(secret: RetirableSecret, unused_days: int) -> bool:
    return secret.unused_days is None or secret.unused_days < unused_days


class Objection(Struct, frozen=True, gc=False, rename="camel"):
    """Why a Secret is not changed, or what --force overrides."""

    secret: Annotated[str, Meta(description="Namespace and name.")]
    reasons: Annotated[tuple[str, ...], Meta(description="Why.")]
    can_force: Annotated[bool, Meta(description="Whether --force with its name overrides all of it.")]


class ExcludedSecrets(Struct, frozen=True, gc=False, rename="camel"):
    """How many Secrets the criteria leave out for one reason."""

    reason: Annotated[Exclusion, Meta(description="The first criterion that leaves them out.")]
    count: Annotated[int, Meta(description="How many.")]


class Plan(Struct, frozen=True, gc=False, rename="camel"):
    """What a command would do."""

    command: Annotated[Command, Meta(description="The command.")]
    cluster: Annotated[str, Meta(description="The API server's address.")]
    context: Annotated[str, Meta(description="The context of the kubeconfig; empty in a pod.")]
    secrets: Annotated[tuple[RetirableSecret, ...], Meta(description="The Secrets to change, the worst first.")]
    begun: Annotated[
        int,
        Meta(description="How many Secrets of this wave are disabled: within the last hour, for the same reason."),
    ]
    later: Annotated[tuple[str, ...], Meta(description="Secrets for a later wave, because of --max.")]
    done: Annotated[tuple[str, ...], Meta(description="Secrets that are already as the command would leave them.")]
    forced: Annotated[tuple[Objection, ...], Meta(description="What --force overrides; these Secrets are changed.")]
    refused: Annotated[tuple[Objection, ...], Meta(description="Named Secrets that are not changed.")]
    skipped: Annotated[tuple[Objection, ...], Meta(description="Selected Secrets that are not changed.")]
    excluded: Annotated[tuple[ExcludedSecrets, ...], Meta(description="What the criteria leave out; none without any.")]
    legacy_secrets: Annotated[int, Meta(description="The number of legacy Secrets in the namespaces that were read.")]
    unused_days: Annotated[int, Meta(description="Days without a use after which a token counts as unused.")]

    @property
    def exit_status(self) -> int:
        """1 if a named Secret is refused, else 0."""
        return int(bool(self.refused))


class _Reason(NamedTuple):
    """Why a Secret is not changed, and whether --force overrides it."""

    text: str
    can_force: bool = True


def make_plan(
    command: Command, report: LegacyReport, selection: Selection, deleted: frozenset[str] = frozenset()
) -> Plan:
    """Return what a command does with the selected Secrets of a report; `deleted` are names it has deleted before."""
    planner = _Planner(command, report, selection)
    for secret in report.secrets:
        planner.add(secret)
    titles = {secret.title for secret in report.secrets}
    missing = selection.named - titles
    planner.done += sorted(missing & deleted)
    planner.refused += (
        Objection(name, (f"no such legacy Secret{did_you_mean(name, sorted(titles))}",), can_force=False)
        for name in sorted(missing - deleted)
    )
    return Plan(
        command,
        report.cluster,
        report.context,
        secrets=tuple(planner.secrets),
        begun=planner.begun,
        later=tuple(planner.later),
        done=tuple(planner.done),
        forced=tuple(planner.forced),
        refused=tuple(planner.refused),
        skipped=tuple(planner.skipped),
        excluded=tuple(ExcludedSecrets(reason, count) for reason in Exclusion if (count := planner.excluded[reason])),
        legacy_secrets=len(report.secrets),
        unused_days=report.unused_days,
    )


class _Planner:
    """Decides about one Secret after the other."""

    def __init__(self, command: Command, report: LegacyReport, selection: Selection) -> None:
        self._command = command
        self._report = report
        self._selection = selection
        self._reasons: Mapping[Command, Callable[[RetirableSecret], Iterator[_Reason]]] = {
            Command.DISABLE: self._against_disabling,
            Command.RESTORE: self._against_restoring,
            Command.DELETE: self._against_deleting,
        }
        self.begun = self._count_begun()
        self._chosen = self.begun
        self.secrets: list[RetirableSecret] = []
        self.later: list[str] = []
        self.done: list[str] = []
        self.forced: list[Objection] = []
        self.refused: list[Objection] = []
        self.skipped: list[Objection] = []
        self.excluded: Counter[Exclusion] = Counter()

    def add(self, secret: RetirableSecret) -> None:
        """Add a Secret to one of the lists, if it is selected; else count why not."""
        selection, name = self._selection, secret.title
        is_named = name in selection.named
        if not is_named and not selection.has_criteria:
            return
        if not is_named and (exclusion := self._exclusion(secret)):
            self.excluded[exclusion] += 1
            return
        objection = self._objection(secret)
        if self._is_done(secret):
            self.done.append(name)
        elif objection and not (name in selection.forced and objection.can_force):
            (self.refused if is_named else self.skipped).append(objection)
        elif is_named or selection.max_count is None or self._chosen < selection.max_count:
            self._chosen += not is_named
            self.secrets.append(secret)
            self.forced += [objection] if objection else []
        else:
            self.later.append(name)

    def _count_begun(self) -> int:
        """Return how many selected Secrets the same command has disabled before it was interrupted."""
        selection, report = self._selection, self._report
        if self._command is not Command.DISABLE or not selection.has_criteria:
            return 0
        return sum(
            secret.disabled is not None
            and secret.disabled.reason == selection.reason
            and secret.title not in selection.named
            and self._exclusion(secret) is None
            for secret in disabled_lately(report.secrets, report.time)
        )

    def _exclusion(self, secret: RetirableSecret) -> Exclusion | None:
        """Return why a Secret that is not named is not meant: only a disabled one is restored or deleted."""
        is_valid = secret.disabled is None and not secret.half_restored
        if is_valid and self._command is not Command.DISABLE:
            return Exclusion.VALID
        return next(self._selection.exclusions(secret, self._report.unused_days), None)

    def _is_done(self, secret: RetirableSecret) -> bool:
        """Return whether a Secret is as the command leaves it."""
        if self._command is Command.DISABLE:
            return secret.disabled is not None
        if self._command is Command.DELETE:
            return secret.deleting
        return secret.disabled is None and not secret.half_restored

    def _objection(self, secret: RetirableSecret) -> Objection | None:
        """Return what is against changing a Secret: what --force cannot override, if there is such a reason."""
        reasons = [*self._all_reasons(secret)]
        decisive = [reason for reason in reasons if not reason.can_force]
        texts = tuple(reason.text for reason in (decisive if secret.title in self._selection.forced else ()) or reasons)
        return Objection(secret.title, texts, can_force=not decisive) if texts else None

    def _all_reasons(self, secret: RetirableSecret) -> Iterator[_Reason]:
        """Yield why a command does not change a Secret."""
        if secret.deleting:
            yield _Reason("it is being deleted already", can_force=False)
        yield from self._reasons[self._command](secret)

    def _against_disabling(self, secret: RetirableSecret) -> Iterator[_Reason]:
        if secret.references:
            yield _Reason(f"{_references(secret)} {'running pods' if secret.pods else 'a template'}")
        yield from self._unknown_references(secret)
        days, limit = secret.unused_days, self._report.unused_days
        if days is None:
            yield _Reason("it is not known whether it is used")
        elif secret.last_used and days < limit:
            yield _Reason(f"it was used on {secret.last_used}, within --unused-days {limit}")
        elif days < limit and secret.unused_since == secret.created_on:
            yield _Reason(f"it was created on {secret.created_on}, within --unused-days {limit}")
        elif days < limit:
            yield _Reason(f"uses are recorded only since {secret.unused_since}, for less than --unused-days {limit}")

    def _against_restoring(self, secret: RetirableSecret) -> Iterator[_Reason]:
        disabling = secret.disabled
        if disabling and not disabling.recorded:
            since = f" on {disabling.since}" if disabling.since else ""
            yield _Reason(f"{disabling.author} has disabled it{since}, not tokenguard")

    def _against_deleting(self, secret: RetirableSecret) -> Iterator[_Reason]:
        days, disabling = self._report.after_days, secret.disabled
        if disabling is None or disabling.since is None:
            yield _Reason("it is not disabled; disable it first, which can be undone", can_force=False)
        elif secret.state is RetirementState.STILL_USED:
            wait = counted(max(days, 1), "day")
            yield _Reason(
                f"a use was refused on {disabling.refused_on}: restore it, or wait {wait} from then", can_force=False
            )
        elif secret.quiet_days is None or secret.quiet_days < days:
            yield _Reason(f"it was disabled on {disabling.since}, less than --after-days {days} ago", can_force=False)
        if secret.references:
            yield _Reason(f"{_references(secret)} {'running pods' if secret.pods else 'a template'}")
        yield from self._unknown_references(secret)

    def _unknown_references(self, secret: RetirableSecret) -> Iterator[_Reason]:
        if secret.is_copy:
            yield _Reason("it is a copy in a Secret of another type, whose references are not known")
        if unread := self._report.names_unread:
            yield _Reason(f"{', '.join(unread)} could not be read, which may refer to it")


def _references(secret: RetirableSecret) -> str:
    titles = [*dict.fromkeys(reference.title for reference in (secret.pods or secret.references))]
    if len(titles) == 1:
        return f"{titles[0]} refers to it, in"
    return f"{titles[0]} and {len(titles) - 1} more refer to it, in"


class ChangeResult(Struct, frozen=True, gc=False, rename="camel"):
    """A Secret that a command has changed, or tried to."""

    secret: Annotated[str, Meta(description="Namespace and name.")]
    error: Annotated[str, Meta(description="Why it was not changed; empty if it was.")] = ""
    note: Annotated[str, Meta(description="What went wrong besides.")] = ""


class ExecutedPlan(Struct, frozen=True, gc=False, rename="camel"):
    """A plan and what was done of it: nothing in a dry run."""

    plan: Annotated[Plan, Meta(description="What the command would do.")]
    dry_run: Annotated[bool, Meta(description="Whether nothing was to be changed.")]
    results: Annotated[tuple[ChangeResult, ...], Meta(description="What was done.")]
