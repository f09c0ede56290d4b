"""Making a policy of a document's values, and the mistakes that no value has by itself.

A document is anybody's: nothing here takes time that grows faster than it does.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from webhook.core import lifetimes
from webhook.core.audiences import audience_hint
from webhook.core.cluster_state import FALLBACK_API_AUDIENCES
from webhook.core.decision import MAX_LINES
from webhook.core.formatting import quote
from webhook.core.kinds import KINDS
from webhook.core.pod_context import API_TOKEN_PATH
from webhook.core.policy.errors import ErrorCollector
from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import (
    KUBELET_ROOT_DIRS,
    Action,
    ApiServerToken,
    Audiences,
    Injection,
    Mode,
    Override,
    Policy,
    Tokens,
)
from webhook.core.rules import BY_NAME, RULES
from webhook.core.selectors import Accounts, Globs, labels

_MOST_COMPARED = 10_000_000
_COMPARISON = 32
"""How many characters of audiences and patterns are compared in all, and what a comparison counts for besides."""


def build(values: Mapping[str, Any], sha256: str, errors: ErrorCollector) -> Policy:
    """Return the policy that the values of a document make; note what contradicts what. `sha256` is the document's.

    Where there are mistakes the policy is of no use.
    """
    mode = Mode(values.get("mode", Mode.ENFORCE))
    rules = {rule.name: rule.default for rule in RULES} | _actions(values.get("rules", {}))
    own = values.get("apiServerToken", {})
    api_audiences = tuple(own.get("audiences", ()))
    audiences = _AudienceChecker(dict.fromkeys(api_audiences or FALLBACK_API_AUDIENCES), errors)
    tokens = _tokens(values.get("tokens", {}), Tokens(), "tokens", audiences)
    injections = tuple(_injections(values.get("inject", ()), tokens, audiences, errors))
    _report_clashes(injections, errors)
    return Policy(
        mode=mode,
        rules=rules,
        tokens=tokens,
        api_server_token=ApiServerToken(own.get("expiration") == "keep", api_audiences),
        workloads=_workloads(values.get("workloads", ()), errors),
        injections=injections,
        overrides=tuple(
            Override(
                tuple(one.get("namespaces", ())),
                labels(one.get("namespaceLabels")),
                Mode(one.get("mode", mode)),
                rules | _actions(one["rules"]) if "rules" in one else rules,
                _tokens(one["tokens"], tokens, f"overrides[{number}].tokens", audiences) if "tokens" in one else tokens,
            )
            for number, one in enumerate(values.get("overrides", ()))
        ),
        exemptions=tuple(_exemption(one) for one in values.get("exemptions", ())),
        kubelet_root_dirs=tuple(values.get("kubeletRootDirs", KUBELET_ROOT_DIRS)),
        sha256=sha256,
    )


def _actions(values: Mapping[str, str]) -> dict[str, Action]:
    return {rule: Action(action) for rule, action in values.items()}


class _AudienceChecker:
    """Records audiences that are not allowed. There is an end to what it compares and guesses at."""

    def __init__(self, api_servers: Collection[str], errors: ErrorCollector) -> None:
        """Take the API server's own audiences, for a quick look-up."""
        self.api_servers = api_servers
        self._errors = errors
        self._left = _MOST_COMPARED
        self._guesses_left = MAX_LINES

    def look(self, path: str, audience: str, allowed: Globs, message: str) -> None:
        """Note `message`, and what to do, where the audience is not allowed."""
        if self._left < 0:
            return
        self._left -= sum(len(pattern) + len(audience) + _COMPARISON for pattern in allowed.wild)
        if self._left < 0:
            self._errors.add_at(path, "from here on nothing is compared with tokens.audiences.allowed: it is too much")
        elif hint := audience_hint(audience, allowed, self.api_servers, guess=self._guesses_left > 0):
            self._guesses_left -= 1
            self._errors.add_at(path, f"{message}; {hint}")


def _tokens(values: Mapping[str, Any], base: Tokens, path: str, audiences: _AudienceChecker) -> Tokens:
    given = values.get("audiences", {})
    allowed = Globs(given["allowed"]) if "allowed" in given else base.audiences.allowed
    default = given.get("default", base.audiences.default)
    at = next((key for key in ("default", "allowed") if key in given), None)
    if default and at:
        message = f"the default audience {quote(default)} is not allowed"
        audiences.look(f"{path}.audiences.{at}", default, allowed, message)
    return Tokens(
        values.get("maxExpirationSeconds", base.max_expiration_seconds),
        values.get("maxRequestExpirationSeconds", base.max_request_expiration_seconds),
        Audiences(given.get("required", base.audiences.required), default, allowed),
    )


def _injections(
    values: tuple[Mapping[str, Any], ...], tokens: Tokens, audiences: _AudienceChecker, errors: ErrorCollector
) -> Iterator[Injection]:
    for number, one in enumerate(values):
        path = f"inject[{number}]"
        injection = Injection(
            name=one.get("name", ""),
            audience=one.get("audience", ""),
            mount_path=one.get("mountPath", ""),
            expiration_seconds=one.get("expirationSeconds"),
            path=one.get("path", "token"),
            env=one.get("env"),
            on_request=one.get("onRequest", False),
            namespaces=Globs(one.get("namespaces", ())),
            namespace_labels=labels(one.get("namespaceLabels")),
            service_accounts=Accounts(one.get("serviceAccounts", ())),
            pod_labels=labels(one.get("podLabels")),
        )
        maximum = tokens.max_expiration_seconds
        for_api_server = injection.audience in audiences.api_servers
        lifetime = lifetimes.effective_lifetime(injection.expiration_seconds, for_api_server=for_api_server)
        if injection.expiration_seconds and lifetime > maximum:
            year = " for the API server means a year, which" if lifetime == lifetimes.YEAR else ""
            errors.add_at(
                f"{path}.expirationSeconds",
                f"{injection.expiration_seconds}{year} outlives tokens.maxExpirationSeconds, which is {maximum}",
            )
        if injection.audience:
            message = f"{quote(injection.audience)} is not in tokens.audiences.allowed"
            audiences.look(f"{path}.audience", injection.audience, tokens.audiences.allowed, message)
        if injection.mount_path and _overlap(injection.clean_mount_path, API_TOKEN_PATH):
            errors.add_at(f"{path}.mountPath", f"overlaps {API_TOKEN_PATH}, where Kubernetes mounts its own token")
        yield injection


def _workloads(values: tuple[Mapping[str, str], ...], errors: ErrorCollector) -> dict[tuple[str, str], str]:
    """Return the pointer of each kind's template; note kinds that are given twice, and Kubernetes' own."""
    templates: dict[tuple[str, str], str] = {}
    numbers: dict[tuple[str, str], int] = {}
    for number, one in enumerate(values):
        if not ("apiGroup" in one and "kind" in one):
            continue
        kind = one["apiGroup"], one["kind"]
        if kind in KINDS:
            message = f"{quote(one['kind'])} is a kind of Kubernetes itself: remove it"
            errors.add_at(f"workloads[{number}].kind", message)
        elif (earlier := numbers.setdefault(kind, number)) != number:
            message = f"{quote(one['kind'])} of {quote(one['apiGroup'])} is given already, by workloads[{earlier}]"
            errors.add_at(f"workloads[{number}].kind", message)
        templates.setdefault(kind, one.get("template", ""))
    return templates


def _report_clashes(injections: tuple[Injection, ...], errors: ErrorCollector) -> None:
    """Note injections that no pod could have both: of one name, or mounted at, above or below the same place."""
    names: dict[str, int] = {}
    for number, one in enumerate(injections):
        if one.name and (earlier := names.setdefault(one.name, number)) != number:
            errors.add_at(f"inject[{number}].name", f"{quote(one.name)} is taken already, by inject[{earlier}]")
    above: list[tuple[str, int]] = []
    for path, number in sorted((f"{one.clean_mount_path}/", at) for at, one in enumerate(injections) if one.mount_path):
        while above and not path.startswith(above[-1][0]):
            above.pop()
        if above:
            earlier, later = sorted((above[-1][1], number))
            one, other = injections[later], injections[earlier]
            message = f"{quote(one.mount_path)} overlaps {quote(other.mount_path)} of inject[{earlier}]"
            errors.add_at(f"inject[{later}].mountPath", message)
        above.append((path, number))


def _overlap(path: str, other: str) -> bool:
    """Say whether two paths are the same, or one lies below the other: nothing can be mounted into a token's volume."""
    return path == other or path.startswith(other + "/") or other.startswith(path + "/")


def _exemption(values: Mapping[str, Any]) -> Exemption:
    rules = tuple(dict.fromkeys(values.get("rules", ())))
    until = values.get("until")
    return Exemption(
        rules=tuple(BY_NAME) if "*" in rules else rules,
        reason=" ".join(values.get("reason", "").split()),
        until=None if until == "never" else until,
        namespaces=Globs(values.get("namespaces", ())),
        service_accounts=Accounts(values.get("serviceAccounts", ())),
        users=Globs(values.get("users", ())),
    )
