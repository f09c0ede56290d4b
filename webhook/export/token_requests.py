"""The rules for TokenRequests."""

from collections.abc import Callable, Iterator, Mapping

from webhook.core.audiences import use_one_of
from webhook.core.decision import Violation
from webhook.core.kinds import Subject
from webhook.core.lifetimes import DEFAULT_EXPIRATION, MAGIC_EXPIRATION, YEAR
from webhook.core.rules import token_request_audience, token_request_binding, token_request_expiration
from webhook.export import cel
from webhook.export.check import CompilerInput, ExportedCheck, ExportedRule

_ACCOUNTS = ("request.name",)
_AUDIENCES = "object.spec.?audiences.orValue([])"
_SECONDS = f"object.spec.?expirationSeconds.orValue({DEFAULT_EXPIRATION})"


def rules(given: CompilerInput) -> Iterator[ExportedRule]:
    """Yield the rules for TokenRequests."""
    yield _expiration(given)
    yield _audience(given)
    yield _binding()


def _expiration(given: CompilerInput) -> ExportedRule:
    maximum = [str(settings.tokens.max_request_lifetime) for settings in given.scopes.settings.values()]
    is_magic = (
        f"{_SECONDS} == {MAGIC_EXPIRATION} && object.spec.?boundObjectRef.?kind.orValue('') == 'Pod'"
        f" && {_AUDIENCES}.all(audience, audience in {cel.strings(given.api_audiences)})"
    )
    variables = (
        ("maximum", given.scopes.value(maximum)),
        ("isYear", is_magic),
        ("lifetime", f"variables.isYear ? {YEAR} : {_SECONDS}"),
    )
    values = {
        "path": cel.string("spec.expirationSeconds"),
        "lifetime": "string(variables.lifetime)",
        "year": f"(variables.isYear ? {cel.string(token_request_expiration.YEAR_NOTE)} : '')",
        "maximum": "string(variables.maximum)",
    }
    lines = cel.once("variables.lifetime > variables.maximum")
    check = _check(Violation("", token_request_expiration.EXCEEDS), values, lines)
    return ExportedRule(token_request_expiration.RULE.name, Subject.TOKEN_REQUEST, (check,), variables)


def _audience(given: CompilerInput) -> ExportedRule:
    checks = []
    for scope, settings in given.scopes.settings.items():
        allowed = settings.tokens.audiences.allowed
        if not allowed:
            continue
        own = f"audience in {cel.strings(given.api_audiences)}"
        is_allowed = cel.any_of((own, cel.matches_globs("audience", allowed)))
        condition = cel.all_of((given.scopes.where([scope]), cel.negated(is_allowed)))
        path = f"'spec.audiences[' + string({_AUDIENCES}.indexOf(audience)) + ']'"
        violation = Violation("", token_request_audience.NOT_ALLOWED, cel.fixed(use_one_of(allowed)))
        values = {"path": path, "audience": cel.quoted("audience")}
        checks.append(_check(violation, values, _audiences(condition)))
    return ExportedRule(token_request_audience.RULE.name, Subject.TOKEN_REQUEST, checks)


def _binding() -> ExportedRule:
    lines = cel.once("object.spec.?boundObjectRef.orValue(null) == null")
    values = {"path": cel.string("spec")}
    check = _check(Violation("", token_request_binding.UNBOUND), values, lines)
    return ExportedRule(token_request_binding.RULE.name, Subject.TOKEN_REQUEST, (check,))


def _audiences(condition: str) -> Callable[[str], str]:
    return lambda line: f"{_AUDIENCES}.filter(audience, {condition}).map(audience, {line})"


def _check(violation: Violation, values: Mapping[str, str], lines: Callable[[str], str]) -> ExportedCheck:
    return ExportedCheck(violation, values, lines, lines, _ACCOUNTS)
