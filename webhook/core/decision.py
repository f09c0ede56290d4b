"""What a rule says of an object, what is done about it, and how that is told. Values, never exceptions."""

from collections.abc import Sequence
from functools import cached_property
from heapq import nsmallest

import msgspec

from webhook.core import json_patch
from webhook.core.formatting import FastStrEnum
from webhook.core.json_patch import Edit, Operation, json_path
from webhook.core.policy.errors import PolicyError
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import Action, Mode

INVALID_POLICY = "invalid-policy"
"""Stands in for a rule where a policy's own mistakes are told."""

MOST_LINES = 10
WARNING_LENGTH = 120
"""What the API server advises as the length of a warning, in characters."""


class Outcome(FastStrEnum):
    """What became of a request, from harmless to not."""

    ALLOWED = "allowed"
    WARNED = "warned"
    PATCHED = "patched"
    DENIED = "denied"


class Coverage(FastStrEnum):
    """Whether rules were applied to an object: yes; no, because it is left alone by design; no, for want of a rule."""

    EVALUATED = "evaluated"
    LEFT_ALONE = "left alone"
    NOT_EVALUATED = "not evaluated"


class MountedToken(msgspec.Struct, frozen=True, gc=False):
    """A token in a pod: for whom it is made out, empty for the API server, and how long it really lives, in seconds."""

    audience: str
    lifetime: int


class Violation(msgspec.Struct, frozen=True, gc=False):
    """What a rule found broken, before the policy says what is done about it.

    `pointer` is the place (RFC 6901) and `detail` what is wrong there, to be read after it. `hint` says
    what the author can do. Where the rule can mend it, `edits` holds the edits and `fix_summary` says what they do.
    `authored` is false where it is not about what the object's author wrote; such a violation is mended or,
    where it can't be, rejected, but nobody is warned of it. `token` is the token that it is about, where it is one that
    lives too long, as it is now, or one that is to be injected, as it will be. `other_account` is the ServiceAccount
    whose token it is about where that isn't the object's own account: an exemption by account must match both.
    `warn_only` is true where the object is never denied or patched for it, whatever the rule's action.
    `api_server_own` says that it is about the API server's own token, which is patched where others are rejected.
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
    api_server_own: bool = False


class Finding(msgspec.Struct, frozen=True, gc=False):
    """A violation and what is done about it: `action`, and `intended` where the mode holds it back."""

    rule: str
    action: Action
    intended: Action
    violation: Violation

    @property
    def path(self) -> str:
        """The place, as people write it."""
        return json_path(self.violation.pointer)

    @property
    def detail(self) -> str:
        """What is wrong and what is, was or would be done about it."""
        found = self.violation
        if self.intended is Action.PATCH and found.edits and self.action is not Action.REJECT:
            would = "" if self.action is Action.PATCH else "would be "
            return f"{found.detail}; {would}{found.fix_summary}"
        would = "would be denied; " if self.suppressed_by_mode else ""
        return f"{found.detail}; {would}{found.hint}" if found.hint else found.detail

    @property
    def suppressed_by_mode(self) -> bool:
        """Whether it would be rejected, but for the mode or because a workload is only advised."""
        return self.action in (Action.WARN, Action.AUDIT) and self.intended in (Action.PATCH, Action.REJECT)

    def line(self, most: int | None = None) -> str:
        """Return it as one line; where that brings it down to `most` characters, without the advice.

        `tokenguard rules` gives the hint, too.
        """
        line = f"{self.rule}: {self.path} {self.detail}"
        short = line.removesuffix(self.violation.hint).rstrip(" ;:")
        return short if most is not None and len(short) <= most < len(line) else line

    def __str__(self) -> str:
        return self.line()


class Decision(msgspec.Struct, frozen=True, dict=True):
    """What is done about one request. `coverage` says whether rules were applied, and `note` why they were not.

    `exempted` are the findings that an exemption covers, each with the exemption. `problem` tells
    why the object could not be judged; `policy` is the document's revision, `mode` what held there. `mistakes` are
    those of a policy that is to be stored, for which it is denied: all of them, since each has to be mended.
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

    @cached_property
    def encoded_patch(self) -> bytes:
        """The patch as JSON: the answer and the audit record contain the same bytes."""
        return json_patch.encode(self.patch)

    @property
    def exemptions(self) -> tuple[tuple[str, Exemption], ...]:
        """The exemptions that were applied, each once with the name of the rule that it kept from acting."""
        if not self.exempted:
            return ()
        pairs = {(finding.rule, id(exemption)): exemption for finding, exemption in self.exempted}
        return tuple((rule, exemption) for (rule, _), exemption in pairs.items())

    @property
    def nothing_to_report(self) -> bool:
        """Whether there is nothing to tell: allowed, with no finding and no exemption."""
        return self.outcome is Outcome.ALLOWED and not (self.findings or self.exempted or self.problem)

    def rejections(self) -> tuple[Finding, ...]:
        """Return the findings that deny the request."""
        return tuple(finding for finding in self.findings if finding.action is Action.REJECT)

    def message(self, decision_id: str) -> str:
        """Return what the user is told of a denial: a line for each finding or mistake, and where to read on."""
        if self.problem:
            return f"{self.problem}\n[tokenguard {decision_id}]"
        lines = [*map(str, self.policy_errors)] if self.policy_errors else _first(self.rejections())
        return "\n".join([*lines, f"[{': '.join(self.reference(decision_id))}]"])

    def reference(self, decision_id: str) -> tuple[str, str]:
        """Return by what a denial is found in the audit log, and where to read on."""
        more = "policy validate" if self.policy_errors else f"rules {self.rejections()[-1].rule}"
        return f"tokenguard {decision_id}", f"see 'tokenguard {more}'"

    def warnings(self) -> tuple[str, ...]:
        """Return what the user is warned of: what its author wrote and was mended, or would be under enforcement."""
        told = [
            finding
            for finding in self.findings
            if finding.violation.authored and finding.action in (Action.WARN, Action.PATCH)
        ]
        warnings = _first(told, most=WARNING_LENGTH)
        if self.problem and self.outcome is Outcome.WARNED:
            warnings.append(self.problem)
        return tuple(warnings)


def first_of_each_rule(findings: Sequence[Finding], most: int) -> Sequence[Finding]:
    """Return at most so many findings, in their order: what breaks one rule many times hides no other rule."""
    if len(findings) <= most:
        return findings
    seen: dict[str, int] = {}
    ranked = []
    for number, finding in enumerate(findings):
        seen[finding.rule] = rank = seen.get(finding.rule, 0) + 1
        ranked.append((rank, number))
    return [findings[number] for number in sorted(number for _, number in nsmallest(most, ranked))]


def _first(findings: Sequence[Finding], most: int | None = None) -> list[str]:
    lines = [finding.line(most) for finding in first_of_each_rule(findings, MOST_LINES)]
    if len(findings) > MOST_LINES:
        lines.append(f"and {len(findings) - MOST_LINES} more")
    return lines
