"""What a rule finds, what is done about it, and what the user sees of that. Values, never exceptions."""

from collections.abc import Sequence
from functools import cached_property
from heapq import nsmallest
from typing import NamedTuple

import msgspec

from webhook.core import json_patch
from webhook.core.formatting import FastStrEnum
from webhook.core.json_patch import Edit, Operation, json_path
from webhook.core.policy.errors import PolicyError
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import Action, Mode

INVALID_POLICY = "invalid-policy"
"""The name of a rule, where a policy's own errors are reported."""

MAX_LINES = 10
WOULD_BE_DENIED = "would be denied"
"""Said of a violation that is only warned about, or recorded, because of the mode."""
WARNING_LENGTH = 120
"""The length of a warning that the API server recommends, in characters."""


class Outcome(FastStrEnum):
    """What happens to a request, from harmless to not."""

    ALLOWED = "allowed"
    WARNED = "warned"
    PATCHED = "patched"
    DENIED = "denied"


class DenialStatus(NamedTuple):
    """The HTTP status of a denial, and its reason as Kubernetes names it."""

    code: int
    reason: str


FORBIDDEN = DenialStatus(403, "Forbidden")
BAD_REQUEST = DenialStatus(400, "BadRequest")
INVALID = DenialStatus(422, "Invalid")
INTERNAL_ERROR = DenialStatus(500, "InternalError")
UNAVAILABLE = DenialStatus(503, "ServiceUnavailable")


class Coverage(FastStrEnum):
    """Whether rules were applied to an object: yes; no, by design; no, because no rule applies to it."""

    EVALUATED = "evaluated"
    EXCLUDED = "excluded"
    NOT_EVALUATED = "not evaluated"


class MountedToken(msgspec.Struct, frozen=True, gc=False):
    """A token in a pod: its audience, empty for the API server, and its effective lifetime in seconds."""

    audience: str
    lifetime: int


class Violation(msgspec.Struct, frozen=True, gc=False):
    """What a rule found, before the policy assigns an action.

    `pointer` is the place (RFC 6901), `detail` what is wrong there, to be read after the place, and `hint` what the
    author can do. If the rule can repair it, `edits` do, and `fix_summary` says what they do. `authored` is false if
    the object's author did not write it: such a violation is patched or, if it can't be, rejected, but never warned
    about. `token` is the token it is about, if it is valid too long (as it is) or to be injected (as it will be).
    `other_account` is the ServiceAccount of that token, if it isn't the object's own: an exemption by account must
    match both. `warn_only`: the object is never denied or patched for it, whatever the rule's action. `is_api_token`:
    it is about the API server token, which is patched where others are rejected.
    """

    pointer: str
    detail: str
    hint: str = ""
    edits: tuple[Edit, ...] = ()
    fix_summary: str = ""
    authored: bool = True
    token: MountedToken | None = None
    other_account: str | None = None
    warn_only: bool = False
    is_api_token: bool = False


class Finding(msgspec.Struct, frozen=True, gc=False):
    """A violation and its action; `intended` is the action without the mode.

    `applies_to_pods`: it is about a workload, whose author is only warned, but its pods will get the intended action.
    """

    rule: str
    action: Action
    intended: Action
    violation: Violation
    applies_to_pods: bool = False

    @property
    def path(self) -> str:
        """The place, as people write it."""
        return json_path(self.violation.pointer)

    @property
    def detail(self) -> str:
        """What is wrong, and what is, was or would be done about it."""
        return "; ".join(filter(None, self.parts))

    @property
    def parts(self) -> tuple[str, str]:
        """What is wrong; and what is done about it or, if nothing is, what the author can do."""
        violation = self.violation
        if self.is_repaired:
            if self.applies_to_pods:
                return violation.detail, f"in its pods it will be {violation.fix_summary}"
            would = "" if self.action is Action.PATCH else "would be "
            return violation.detail, f"{would}{violation.fix_summary}"
        if self.suppressed_by_mode:
            denied = "its pods will be denied" if self.applies_to_pods else WOULD_BE_DENIED
            return f"{violation.detail}; {denied}", violation.hint
        return violation.detail, violation.hint

    @property
    def is_repaired(self) -> bool:
        """Whether its edits are made, or would be if the mode, or the kind of object, did not only allow less."""
        return self.intended is Action.PATCH and bool(self.violation.edits) and self.action is not Action.REJECT

    @property
    def suppressed_by_mode(self) -> bool:
        """Whether it would be patched or rejected if the mode, or the kind of object, did not only allow less."""
        return self.action in (Action.WARN, Action.AUDIT) and self.intended in (Action.PATCH, Action.REJECT)

    def line(self, max_length: int | None = None) -> str:
        """Return it as one line; without the hint, if that brings it down to `max_length` characters.

        `tokenguard rules` gives the hint, too.
        """
        line = f"{self.rule}: {self.path} {self.detail}"
        short = line.removesuffix(self.violation.hint).rstrip(" ;:")
        return short if max_length is not None and len(short) <= max_length < len(line) else line

    def __str__(self) -> str:
        return self.line()


class Decision(msgspec.Struct, frozen=True, dict=True):
    """The answer to one request. `coverage` says whether rules were applied, and `note` why not.

    `exempted` are the findings that an exemption covers, each with the exemption. `problem` says why the object could
    not be evaluated, and `problem_field` is the JSON Pointer of the field that it is about, if there is one; `policy`
    is the document's revision, `mode` the one in force. `policy_errors` are those of a policy document that is denied,
    `policy_warnings` what has no effect in one that is allowed. `status` matters if the outcome is a denial. `help` is
    where the policy's owners tell authors to read on or ask.
    """

    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    patch: tuple[Operation, ...] = ()
    exempted: tuple[tuple[Finding, Exemption], ...] = ()
    policy: str = ""
    mode: Mode | None = None
    problem: str = ""
    note: str = ""
    policy_errors: tuple[PolicyError, ...] = ()
    coverage: Coverage = Coverage.EVALUATED
    status: DenialStatus = FORBIDDEN
    help: str = ""
    policy_warnings: tuple[PolicyError, ...] = ()
    problem_field: str = ""

    @cached_property
    def encoded_patch(self) -> bytes:
        """The patch as JSON: the answer and the audit record contain the same bytes."""
        return json_patch.encode(self.patch)

    @property
    def exemptions(self) -> tuple[tuple[str, Exemption], ...]:
        """The exemptions that were applied, each once with the name of the rule."""
        if not self.exempted:
            return ()
        pairs = {(finding.rule, id(exemption)): exemption for finding, exemption in self.exempted}
        return tuple((rule, exemption) for (rule, _), exemption in pairs.items())

    @property
    def nothing_to_report(self) -> bool:
        """Whether it is allowed, with no finding and no exemption."""
        return self.outcome is Outcome.ALLOWED and not (self.findings or self.exempted or self.problem)

    def rejections(self) -> tuple[Finding, ...]:
        """Return the findings that deny the request."""
        return tuple(finding for finding in self.findings if finding.action is Action.REJECT)

    def message(self, decision_id: str) -> str:
        """Return the message of a denial: a line for each finding or policy error, and where to read on."""
        if self.problem:
            lines, reference = [self.problem], f"tokenguard {decision_id}"
        else:
            lines = [*map(str, self.policy_errors)] if self.policy_errors else _lines(self.rejections())
            reference = ": ".join(self.reference(decision_id))
        return "\n".join([*lines, *filter(None, [self.help]), f"[{reference}]"])

    def reference(self, decision_id: str) -> tuple[str, str]:
        """Return what to search for in the audit log, and the command that says more."""
        command = "policy validate" if self.policy_errors else f"rules {self.rejections()[-1].rule}"
        return f"tokenguard {decision_id}", f"see 'tokenguard {command}'"

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings: what the author wrote and was patched, would be under enforcement, or has no effect."""
        authored = [
            finding
            for finding in self.findings
            if finding.violation.authored and finding.action in (Action.WARN, Action.PATCH)
        ]
        warnings = _lines(authored, WARNING_LENGTH)
        if self.problem and self.outcome is Outcome.WARNED:
            warnings.append(self.problem)
        return (*warnings, *map(str, self.policy_warnings))


def first_of_each_rule(findings: Sequence[Finding], max_findings: int) -> Sequence[Finding]:
    """Return at most so many findings, in their order, so that many of one rule hide no other rule."""
    if len(findings) <= max_findings:
        return findings
    seen: dict[str, int] = {}
    ranked = []
    for number, finding in enumerate(findings):
        seen[finding.rule] = rank = seen.get(finding.rule, 0) + 1
        ranked.append((rank, number))
    return [findings[number] for number in sorted(number for _, number in nsmallest(max_findings, ranked))]


def _lines(findings: Sequence[Finding], max_length: int | None = None) -> list[str]:
    lines = [finding.line(max_length) for finding in first_of_each_rule(findings, MAX_LINES)]
    if len(findings) > MAX_LINES:
        lines.append(f"and {len(findings) - MAX_LINES} more")
    return lines
