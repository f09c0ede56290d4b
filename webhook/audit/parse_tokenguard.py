"""What a line of tokenguard's own log tells."""

import datetime as dt

from webhook.audit.events import LONGEST_NAME, OF_DECISION, Fate, Verdict, exemptions_in, strongest
from webhook.audit.log_entry import Line

_OF_ACTION = {"reject": Fate.DENIED, "patch": Fate.PATCHED, "warn": Fate.WARNED, "audit": Fate.NOTED}


def verdict(line: Line) -> Verdict:
    """Return what a line of tokenguard's own log says."""
    namespace = line.namespace[:LONGEST_NAME]
    rules: tuple[tuple[str, Fate], ...] = ()
    if line.findings:
        rules = strongest([(one.rule, _OF_ACTION.get(one.action, Fate.NOTED)) for one in line.findings])
    fate = OF_DECISION.get(line.decision or "", Fate.ALLOWED)
    if fate is Fate.ALLOWED and rules:
        fate = Fate.NOTED
    mutating = line.webhook == "mutate"
    key: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    if line.resource == "pods":
        user = line.user if isinstance(line.user, str) else ""
        parts = (namespace, line.service_account, line.owner, user, line.operation, "dry" if line.dry_run else "")
        key = tuple([part[:LONGEST_NAME] for part in parts])
        names = _names(line, mutating=mutating)
    return Verdict(
        line.time or dt.datetime.min.replace(tzinfo=dt.UTC),
        fate,
        namespace,
        f"{namespace}/{line.service_account}"[:LONGEST_NAME] if line.service_account else "",
        rules,
        exemptions_in(line.exemption),
        line.dry_run,
        mutating,
        key,
        names,
    )


_RANDOM = 5
_LONGEST_BASE = 58


def _names(line: Line, *, mutating: bool) -> tuple[str, ...]:
    """Return by which names the two webhooks' lines of a pod find each other.

    Where the API server makes the name up, which it does between the two, the mutating webhook has seen `web-` and the
    validating one `web-x7k2p`, which might as well be a name that somebody gave. Five characters are added to at most
    58 (kubernetes/kubernetes, apiserver/pkg/storage/names).
    """
    name = line.name[:LONGEST_NAME]
    if mutating:
        return (name or f"{line.generate_name[:_LONGEST_BASE]}?",)
    return name, f"{name[:-_RANDOM]}?"
