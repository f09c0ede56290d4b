"""What is answered in place of a decision that the audit log can't be told of."""

from webhook.core.decision import Decision, Outcome
from webhook.core.kinds import ADVISED
from webhook.core.policy.model import Mode
from webhook.core.request import Request


def in_place_of(request: Request, decision: Decision, why: str) -> Decision | None:
    """Return the refusal of what must not be done untold, or None where the decision may stand.

    `why` is for the author. Refused is what the policy changes, and what it would have changed or rejected but for an
    exemption. A denial is one already. Whatever else is let through as it is, as it would be without tokenguard; where
    a policy only warns or audits, nothing is ever refused.
    """
    if decision.outcome is Outcome.DENIED or decision.mode is not Mode.ENFORCE or request.subject in ADVISED:
        return None
    patched = decision.outcome is Outcome.PATCHED
    if not (patched or decision.exemptions):
        return None
    done = "change" if patched else "exempt"
    problem = f"tokenguard would {done} this, but has to write that down first, and can't: {why}"
    return Decision(Outcome.DENIED, policy=decision.policy, mode=decision.mode, problem=problem)
