"""The end of a check's text: findings by rule, objects by outcome, what was not evaluated, and the policy."""

from collections import Counter
from collections.abc import Iterator

from webhook.check.input_files import DEPENDENCIES, EXCLUDED, HIDDEN, LINKS
from webhook.check.missing_objects import OBJECTS_OPTION
from webhook.check.report import (
    HELM_FILES,
    KUSTOMIZE_PATCHES,
    NO_OBJECTS,
    OTHER_KINDS,
    TEMPLATES,
    TOOL_FILES,
    CheckReport,
    NotEvaluated,
    PolicyInUse,
)
from webhook.core.decision import Outcome
from webhook.core.formatting import counted, plain
from webhook.core.policy.model import Mode
from webhook.formatters.check_lines import problem_line, secret_name, styled
from webhook.formatters.formatter import FormatOptions
from webhook.formatters.wrapping import wrapped

_MAX_KINDS = 10
_MAX_SECRETS = 3
_MAX_LENGTH = 100
_SINGULAR = {
    KUSTOMIZE_PATCHES: "kustomize patch",
    TOOL_FILES: "file of kustomize or kubectl",
    HELM_FILES: "file of a Helm chart",
    TEMPLATES: "unrendered template",
    NO_OBJECTS: "not a Kubernetes object",
    EXCLUDED: "excluded file or folder",
    HIDDEN: "hidden file or folder",
    DEPENDENCIES: "node_modules folder",
    LINKS: "symbolic link to a folder",
}


def summary_lines(report: CheckReport, options: FormatOptions) -> Iterator[str]:
    """Yield the summary, wrapped at the terminal's width; nothing with `quiet`."""
    for line in () if options.quiet else _lines(report, options):
        if options.width and "\x1b" not in line:
            yield from wrapped(line, options.width, 4)
        else:
            yield line


def _lines(report: CheckReport, options: FormatOptions) -> Iterator[str]:
    summary = report.summary
    if rules := report.by_rule():
        total = counted(len(report.findings), "finding")
        yield f"{total} in {counted(len({finding.evaluation.file for finding in report.findings}), 'file')}:"
        width = max(map(len, rules))
        for rule, counts in rules.items():
            yield f"  {rule:<{width}}  {_outcomes(counts, colour=options.colour)}"
    if report.fixed:
        yield f"{counted(report.fixed, 'finding')} fixed, {len(report.findings)} left"
    elif fixable := report.fixable:
        yield f"{counted(fixable, 'finding')} can be fixed: {report.fix_hint}"
    if report.findings and report.help:
        yield plain(report.help)
    evaluated = f"{counted(summary.objects, 'object')} in {counted(summary.files, 'file')} evaluated"
    yield f"{evaluated}: {_all(summary.outcomes)}"
    if summary.exempt:
        listed = "" if options.verbose else "; -v lists it" if summary.exempt == 1 else "; -v lists them"
        yield f"{counted(summary.exempt, 'finding')} exempt{listed}"
    if patched := patched_without_finding(report):
        yield patched if options.verbose else f"{patched}; -v lists the patches"
    yield from enforce_lines(report)
    yield from _not_evaluated(report.by_reason(), verbose=options.verbose)
    yield from _missing_secrets(report, verbose=options.verbose)
    if report.problems:
        where = "; the errors are above the findings" if report.findings else ""
        yield f"could not be evaluated: {len(report.problems)}{where}"
    if report.warnings_fail:
        yield f"failed because of {counted(len(report.warnings), 'warning')}: --strict"
    yield policy_line(report.policy)


def patched_without_finding(report: CheckReport) -> str:
    """Return which objects the webhook patches without a finding; empty for none."""
    counts = [f"{counted(count, 'object')} by {rule}" for rule, count in report.patched_without_finding.items()]
    return f"patched without a finding: {', '.join(counts)}" if counts else ""


def unpatched_because_of_mode(report: CheckReport) -> str:
    """Return why `--fix` leaves out patches that mode enforce has; empty if it does not."""
    if not (unpatched := report.unpatched):
        return ""
    modes = " and ".join(f"mode {mode}" for mode in sorted(unpatched))
    total = unpatched.total()
    verb, them = ("is", "it") if total == 1 else ("are", "them")
    return (
        f"{counted(total, 'change')} {verb} left out, because the webhook patches nothing in {modes};"
        f" --mode enforce makes {them}"
    )


def _all(counts: Counter[Outcome]) -> str:
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in reversed(Outcome))


def _outcomes(counts: Counter[Outcome], *, colour: bool) -> str:
    return ", ".join(styled(outcome, f"{count} {outcome}", colour=colour) for outcome, count in counts.items() if count)


def notices(report: CheckReport) -> Iterator[str]:
    """Yield what a reader of the findings alone would not know, for formats that have no summary."""
    yield from enforce_lines(report)
    yield from _missing_secrets(report, verbose=False)


def enforce_lines(report: CheckReport) -> Iterator[str]:
    """Yield the line about the outcomes under mode enforce, if that is not the mode everywhere."""
    policy, enforced = report.policy, report.summary.enforced
    if enforced is None:
        return
    mode = "" if policy.mode is Mode.ENFORCE else f" (the policy's mode is {policy.mode})"
    counts = ", ".join(f"{count} {outcome}" for outcome in reversed(Outcome) if (count := enforced[outcome]))
    yield f"if every namespace were in mode enforce: {counts}{mode}; for details, use --mode enforce"


def policy_line(policy: PolicyInUse) -> str:
    """Return which policy was used: `policy: policy.yaml (revision 0123456789ab, mode audit)`."""
    revision = f"revision {policy.revision}, " if policy.revision else ""
    mode = f"mode {policy.mode}"
    if policy.given_mode is not None:
        instead = "in every namespace" if policy.given_mode is policy.mode else f"instead of {policy.mode}"
        mode = f"--mode {policy.given_mode} {instead}"
    return f"policy: {plain(policy.origin)} ({revision}{mode})"


def _missing_secrets(report: CheckReport, *, verbose: bool) -> Iterator[str]:
    names = [*report.missing_secrets]
    if not names:
        return
    shown = [secret_name(name) for name in names[: None if verbose else _MAX_SECRETS]]
    more = f", and {len(names) - len(shown)} more (-v lists them)" if len(shown) < len(names) else ""
    verb = "is" if len(names) == 1 else "are"
    yield (
        f"{counted(len(names), 'Secret')} {verb} referred to but not among the manifests: {', '.join(shown)}{more};"
        f" to find legacy Secrets among them, use {OBJECTS_OPTION}"
    )


def _not_evaluated(reasons: dict[str, list[NotEvaluated]], *, verbose: bool) -> Iterator[str]:
    if not reasons:
        return
    total = sum(map(len, reasons.values()))
    hint = "" if verbose else "; -v lists them"
    yield f"not evaluated: {total}{hint}"
    for reason, documents in reasons.items():
        yield f"  {len(documents)} {plain(_phrase(reason, len(documents)))}{_details(reason, documents)}"
        if verbose:
            yield from (f"    {problem_line(each.problem, 'note')}" for each in documents)


def _phrase(reason: str, count: int) -> str:
    """Return a reason to be read after a number."""
    if reason == OTHER_KINDS:
        return f"of {reason}"
    if reason.startswith("namespace "):
        return f"in {reason}"
    return _SINGULAR.get(reason, reason) if count == 1 else reason


def _details(reason: str, documents: list[NotEvaluated]) -> str:
    if reason == OTHER_KINDS:
        kinds = Counter(plain(each.kind[:_MAX_LENGTH]) for each in documents).most_common()
        names = [f"{count} {kind}" for kind, count in kinds[:_MAX_KINDS]]
        if len(kinds) > _MAX_KINDS:
            names.append(f"{sum(count for _, count in kinds[_MAX_KINDS:])} others")
        return f": {', '.join(names)}"
    return ""
