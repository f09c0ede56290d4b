"""Makes a policy of a document, and checks what depends on several of its keys.

Anybody who may write a ConfigMap may send a document: all of this takes time in proportion to its size.
"""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from webhook.core import lifetimes
from webhook.core.audiences import audience_hint
from webhook.core.cluster_state import FALLBACK_API_AUDIENCES
from webhook.core.decision import MAX_LINES
from webhook.core.documents.document import Path
from webhook.core.formatting import plain, quote
from webhook.core.kinds import KINDS
from webhook.core.pod_context import API_TOKEN_PATH
from webhook.core.policy.errors import ErrorCollector
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import (
    KUBELET_ROOT_DIRS,
    Action,
    ApiServerToken,
    AudiencePolicy,
    Injection,
    Messages,
    Mode,
    Override,
    Policy,
    TokenLimits,
)
from webhook.core.policy.schema import (
    ApiServerTokenSettings,
    AudienceSettings,
    ExemptionSettings,
    InjectionSettings,
    Maybe,
    MessageSettings,
    PolicyDocument,
    RuleActions,
    TokenSettings,
    WorkloadKind,
    given,
)
from webhook.core.rules import BY_NAME, RULES
from webhook.core.selectors import Accounts, Globs, labels

_MAX_COMPARED = 10_000_000
"""How many characters of audiences and patterns are compared in all."""
_COMPARISON_COST = 32
"""What a comparison costs besides, in characters."""


def build(document: PolicyDocument, sha256: str, errors: ErrorCollector) -> Policy:
    """Return the policy of a document with this SHA-256; add an error for each contradiction in it.

    If there are errors the policy must not be used.
    """
    mode = Mode(given(document.mode, Mode.ENFORCE))
    rules = {rule.name: rule.default for rule in RULES} | _actions(document.rules)
    api_server_token = given(document.api_server_token, ApiServerTokenSettings())
    api_audiences = given(api_server_token.audiences, ())
    messages = given(document.messages, MessageSettings())
    audiences = _AudienceChecker(dict.fromkeys(api_audiences or FALLBACK_API_AUDIENCES), errors)
    tokens = _tokens(document.tokens, TokenLimits(), ("tokens",), audiences)
    injections = tuple(map(_injection, given(document.inject, ())))
    for number, injection in enumerate(injections):
        _check_injection(injection, ("inject", number), tokens, audiences, errors)
    _check_clashes(injections, errors)
    return Policy(
        mode=mode,
        rules=rules,
        tokens=tokens,
        api_server_token=ApiServerToken(given(api_server_token.expiration, "cap") == "keep", api_audiences),
        workloads=_workloads(given(document.workloads, ()), errors),
        injections=injections,
        overrides=tuple(
            Override(
                given(override.namespaces, ()),
                labels(given(override.namespace_labels, {})),
                Mode(given(override.mode, mode)),
                rules | _actions(override.rules),
                _tokens(override.tokens, tokens, ("overrides", number, "tokens"), audiences),
            )
            for number, override in enumerate(given(document.overrides, ()))
        ),
        exemptions=tuple(
            _exemption(exemption, ("exemptions", number), errors)
            for number, exemption in enumerate(given(document.exemptions, ()))
        ),
        kubelet_root_dirs=given(document.kubelet_root_dirs, KUBELET_ROOT_DIRS),
        messages=Messages(given(messages.url, ""), plain(given(messages.contact, ""))),
        sha256=sha256,
    )


def _actions(rules: Maybe[RuleActions]) -> dict[str, Action]:
    actions = msgspec.to_builtins(given(rules, RuleActions()))
    return {rule: Action(action) for rule, action in actions.items() if action is not None}


@dataclass
class _AudienceChecker:
    """Checks that audiences are allowed, as long as that is not too expensive."""

    api_servers: Collection[str]
    errors: ErrorCollector
    left: int = field(default=_MAX_COMPARED, init=False)
    guesses_left: int = field(default=MAX_LINES, init=False)

    def check(self, path: Path, audience: str, allowed: Globs, message: str) -> None:
        """Add an error with the message, and what to do, if the audience is not allowed."""
        if self.left < 0:
            return
        self.left -= sum(len(pattern) + len(audience) + _COMPARISON_COST for pattern in allowed.wild)
        if self.left < 0:
            message = "too many audiences and patterns: from here on, tokens.audiences.allowed is not checked"
            self.errors.add(path, message)
        elif hint := audience_hint(audience, allowed, self.api_servers, guess=self.guesses_left > 0):
            self.guesses_left -= 1
            self.errors.add(path, f"{message}; {hint}")


def _tokens(settings: Maybe[TokenSettings], base: TokenLimits, path: Path, checker: _AudienceChecker) -> TokenLimits:
    """Return the limits of a document, or those of `base` where it has none."""
    tokens = given(settings, TokenSettings())
    audiences = given(tokens.audiences, AudienceSettings())
    required = given(audiences.required, base.audiences.required)
    default = base.audiences.default if audiences.default is msgspec.UNSET else audiences.default
    patterns = given(audiences.allowed, None)
    allowed = base.audiences.allowed if patterns is None else Globs(patterns)
    key = "default" if audiences.default else "allowed"
    if default and (audiences.default or patterns is not None):
        message = f"the default audience {quote(default)} is not allowed"
        checker.check((*path, "audiences", key), default, allowed, message)
    max_request = tokens.max_request_expiration_seconds
    return TokenLimits(
        given(tokens.max_expiration_seconds, base.max_expiration_seconds),
        base.max_request_expiration_seconds if max_request is msgspec.UNSET else max_request,
        AudiencePolicy(required, default, allowed),
    )


def _injection(settings: InjectionSettings) -> Injection:
    return Injection(
        name=settings.name,
        audience=settings.audience,
        mount_path=settings.mount_path,
        expiration_seconds=given(settings.expiration_seconds, None),
        path=given(settings.path, "token"),
        env=given(settings.env, None),
        on_request=bool(given(settings.on_request, None)),
        namespaces=Globs(given(settings.namespaces, ())),
        namespace_labels=labels(given(settings.namespace_labels, {})),
        service_accounts=Accounts(given(settings.service_accounts, ())),
        pod_labels=labels(given(settings.pod_labels, {})),
    )


def _check_injection(
    injection: Injection, path: Path, tokens: TokenLimits, checker: _AudienceChecker, errors: ErrorCollector
) -> None:
    maximum = tokens.max_expiration_seconds
    for_api_server = injection.audience in checker.api_servers
    lifetime = lifetimes.effective_lifetime(injection.expiration_seconds, for_api_server=for_api_server)
    if injection.expiration_seconds and lifetime > maximum:
        year = " means a year for the API server, which" if lifetime == lifetimes.YEAR else ""
        message = f"{injection.expiration_seconds}{year} exceeds tokens.maxExpirationSeconds, which is {maximum}"
        errors.add((*path, "expirationSeconds"), message)
    if injection.audience:
        message = f"{quote(injection.audience)} is not in tokens.audiences.allowed"
        checker.check((*path, "audience"), injection.audience, tokens.audiences.allowed, message)
    if injection.mount_path and _overlap(injection.clean_mount_path, API_TOKEN_PATH):
        message = f"overlaps {API_TOKEN_PATH}, where Kubernetes mounts its own token; use another path"
        errors.add((*path, "mountPath"), message)


def _check_clashes(injections: tuple[Injection, ...], errors: ErrorCollector) -> None:
    """Report injections that no pod can have both: of one name, or mounted at, above or below the same path."""
    names: dict[str, int] = {}
    for number, injection in enumerate(injections):
        if injection.name and (earlier := names.setdefault(injection.name, number)) != number:
            errors.add(("inject", number, "name"), f"{quote(injection.name)} is already the name of inject[{earlier}]")
    above: list[tuple[str, int]] = []
    mounted = (number for number, injection in enumerate(injections) if injection.mount_path)
    for path, number in sorted((f"{injections[number].clean_mount_path}/", number) for number in mounted):
        while above and not path.startswith(above[-1][0]):
            above.pop()
        if above:
            earlier, later = sorted((above[-1][1], number))
            overlapping, other = quote(injections[later].mount_path), quote(injections[earlier].mount_path)
            errors.add(("inject", later, "mountPath"), f"{overlapping} overlaps {other} of inject[{earlier}]")
        above.append((path, number))


def _overlap(path: str, other: str) -> bool:
    """Return whether two paths are the same or one is below the other: a token's volume can contain no mount."""
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def _workloads(kinds: Sequence[WorkloadKind], errors: ErrorCollector) -> dict[tuple[str, str], str]:
    """Return the JSON Pointer of each kind's template; report duplicates and kinds of Kubernetes."""
    templates: dict[tuple[str, str], str] = {}
    numbers: dict[tuple[str, str], int] = {}
    for number, workload in enumerate(kinds):
        key = workload.api_group, workload.kind
        if not all(key):
            continue
        path = ("workloads", number, "kind")
        if key in KINDS:
            errors.add(path, f"{quote(workload.kind)} is built in; remove it")
        elif (earlier := numbers.setdefault(key, number)) != number:
            message = f"{quote(workload.kind)} of {quote(workload.api_group)} is already in workloads[{earlier}]"
            errors.add(path, message)
        templates.setdefault(key, workload.template)
    return templates


def _exemption(settings: ExemptionSettings, path: Path, errors: ErrorCollector) -> Exemption:
    rules = tuple(dict.fromkeys(settings.rules))
    until: dt.date | None = None
    if settings.until not in ("", "never"):
        try:
            until = dt.date(*map(int, settings.until.split("-")))  # three numbers; strptime takes ten times as long
        except ValueError:
            errors.add((*path, "until"), f"{quote(settings.until)} is not a date")
    return Exemption(
        rules=tuple(BY_NAME) if "*" in rules else rules,
        reason=" ".join(settings.reason.split()),
        until=until,
        namespaces=Globs(given(settings.namespaces, ())),
        service_accounts=Accounts(given(settings.service_accounts, ())),
        users=Globs(given(settings.users, ())),
    )
