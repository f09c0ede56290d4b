"""The part of a policy that depends on the namespace, and its exemptions, as CEL.

The settings of a policy and of its overrides are its scopes: -1 is that of the policy, 0 that of the first override.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

from webhook.core.policy.exemptions import Exemption
from webhook.core.policy.model import Action, Mode, Override, Policy
from webhook.core.selectors import Globs
from webhook.export import cel

Variables = Iterator[tuple[str, str]]
"""Names and expressions of variables; each may use those before it."""


class Scopes:
    """The settings by scope."""

    def __init__(self, policy: Policy) -> None:
        """Take the settings and exemptions of a policy."""
        self._overrides = policy.overrides
        self._exemptions = policy.exemptions
        default = Override((), frozenset(), policy.mode, policy.rules, policy.tokens)
        self.settings: Mapping[int, Override] = dict(enumerate((default, *policy.overrides), -1))

    def enforces(self, rule: str, *actions: Action) -> bool:
        """Return whether anything but a warning or a record follows from one of the actions of a rule."""
        return any(
            settings.mode is Mode.ENFORCE and settings.rules[rule] in actions for settings in self.settings.values()
        )

    def variables(self) -> Variables:
        """Yield the variable with the number of the request's scope: of the first override that matches."""
        if self._overrides:
            conditions = ", ".join(map(_applies, self._overrides))
            yield "scope", f"[{conditions}].indexOf(true)"

    def where(self, scopes: Sequence[int]) -> str:
        """Return whether the request is in one of the scopes."""
        if len(scopes) == len(self.settings):
            return cel.TRUE
        return f"variables.scope in {sorted(scopes)}" if scopes else cel.FALSE

    def value(self, by_scope: Sequence[int] | Sequence[str]) -> str:
        """Return a number or a string literal that depends on the scope, given in the order of the scopes."""
        if len(set(by_scope)) == 1:
            return str(by_scope[0])
        return f"[{', '.join(map(str, by_scope))}][variables.scope + 1]"

    def condition(self, by_scope: Sequence[str]) -> str:
        """Return a condition that depends on the scope, given in the order of the scopes."""
        scopes: dict[str, list[int]] = {}
        for scope, condition in zip(self.settings, by_scope, strict=True):
            scopes.setdefault(condition, []).append(scope)
        return cel.any_of(cel.all_of((self.where(scopes[condition]), condition)) for condition in scopes)

    def exempt(self, rule: str, accounts: Sequence[str] | None) -> str:
        """Return whether an exemption from a rule covers the request.

        `accounts` are the ServiceAccounts that all must be exempt; None if CEL cannot know them.
        """
        exemptions = [exemption for exemption in self._exemptions if rule in exemption.rules]
        return cel.any_of(_covers(exemption, accounts) for exemption in exemptions)


NOW = "timestamp(object.metadata.creationTimestamp)"
"""The time of a request that creates an object."""
_TIMES = "object.metadata.?managedFields.orValue([]).map(entry, timestamp(entry.time))"
NOW_BEFORE_CREATION = f"({_TIMES} + [timestamp('0001-01-01T00:00:00Z')]).max()"
"""The time of a request in the mutating phase of admission, where nothing else has it."""
_LAST_CHANGE = f"({_TIMES}.size() > 0 ? {_TIMES}.max() : timestamp('9999-01-01T00:00:00Z'))"
NOW_OF_UPDATE = f"(request.operation == 'CREATE' ? {NOW} : {_LAST_CHANGE})"
"""The time of a request that may be an update: that of the last change of a field, because nothing else has it."""


def _covers(exemption: Exemption, accounts: Sequence[str] | None) -> str:
    conditions = [cel.matches_globs("request.namespace", exemption.namespaces)] if exemption.namespaces else []
    if exemption.service_accounts:
        if accounts is None:
            return cel.FALSE
        conditions += [cel.matches_accounts(account, exemption.service_accounts) for account in accounts]
    if exemption.users:
        conditions.append(cel.matches_globs("request.userInfo.username", exemption.users))
    if exemption.until is not None:
        conditions.append(_before(exemption.until))
    return cel.all_of(conditions)


def _before(last_day: dt.date) -> str:
    """Return whether the request's time is not after a day."""
    if last_day == dt.date.max:
        return cel.TRUE
    return f"variables.now < timestamp('{last_day + dt.timedelta(days=1)}T00:00:00Z')"


def _applies(override: Override) -> str:
    names = cel.matches_globs("request.namespace", Globs(override.namespaces)) if override.namespaces else cel.TRUE
    return cel.all_of((names, cel.has_labels("namespaceObject.metadata", override.namespace_labels)))
