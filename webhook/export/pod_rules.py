"""The rules for pods, except `inject`."""

from collections.abc import Iterator

from webhook.core import lifetimes
from webhook.core.audiences import use_one_of
from webhook.core.decision import Violation
from webhook.core.formatting import quote
from webhook.core.kinds import Subject
from webhook.core.lifetimes import MAGIC_EXPIRATION, YEAR
from webhook.core.pod_context import API_TOKEN_ANNOTATION, API_TOKEN_VOLUME
from webhook.core.policy.model import Action, Mode, Override
from webhook.core.rules import (
    api_token_automount,
    kubelet_hostpath,
    legacy_token_reference,
    token_audience,
    token_expiration,
    token_subpath,
)
from webhook.export import cel, paths
from webhook.export import pod_expressions as pods
from webhook.export.check import ANY_EDIT, CompilerInput, ExportedCheck, ExportedRule
from webhook.export.scopes import Variables

_IS_MAGIC = f"{pods.SECONDS} == {MAGIC_EXPIRATION}"


def rules(given: CompilerInput) -> Iterator[ExportedRule]:
    """Yield the rules for pods."""
    for rule in (_reference, _expiration, _audience, _sub_path, _host_path, _automount):
        yield rule(given)


def _reference(_: CompilerInput) -> ExportedRule:
    gap = "not expressed: CEL cannot see the type of a Secret that a pod refers to"
    return ExportedRule(legacy_token_reference.RULE.name, Subject.POD, (), gaps=(gap,))


def lifetime_variables(given: CompilerInput) -> Variables:
    """Yield the maximum lifetime."""
    maximum = [str(settings.tokens.max_expiration_seconds) for settings in given.scopes.settings.values()]
    yield "maximum", given.scopes.value(maximum)


def is_year(given: CompilerInput) -> str:
    """Return whether a token's 3607 seconds mean a year."""
    return f"{_IS_MAGIC} && {pods.for_api_server(given)}"


def _lifetime(given: CompilerInput) -> str:
    """Return how long the token `source` can be valid, in seconds."""
    return f"(({is_year(given)}) ? {YEAR} : {pods.SECONDS})"


def is_too_long(given: CompilerInput) -> str:
    """Return whether the token `source` can be valid longer than the maximum."""
    is_kept = f"{pods.IS_API_TOKEN} && {_IS_MAGIC}" if given.policy.api_server_token.keep else cel.FALSE
    too_long = f"{_lifetime(given)} > variables.maximum"
    return cel.all_of((too_long, cel.negated(is_kept)))


def cap(given: CompilerInput) -> str:
    """Return the `expirationSeconds` to which the token `source` is capped."""
    magic = f"({_IS_MAGIC} || variables.maximum == {MAGIC_EXPIRATION}) && {pods.for_api_server(given)}"
    hour = lifetimes.DEFAULT_EXPIRATION
    return f"(({magic}) && variables.maximum > {hour} ? {hour} : variables.maximum)"


def _expiration(given: CompilerInput) -> ExportedRule:
    values = {
        "path": pods.SOURCE_PATH,
        "lifetime": f"string({_lifetime(given)})",
        "year": f"({is_year(given)} ? {cel.string(token_expiration.YEAR_NOTE)} : '')",
        "maximum": "string(variables.maximum)",
        "cap": f"string({cap(given)})",
    }
    too_long = is_too_long(given)
    checks = []
    for authored, is_api_token, condition in (
        (True, False, cel.negated(pods.IS_API_TOKEN)),
        (True, True, f"{pods.IS_API_TOKEN} && !{pods.IS_KUBERNETES_OWN}"),
        (False, True, f"{pods.IS_API_TOKEN} && {pods.IS_KUBERNETES_OWN}"),
    ):
        violation = Violation(
            "", token_expiration.EXCEEDS, token_expiration.SHORTEN,
            ANY_EDIT, token_expiration.CAPPED, authored=authored, is_api_token=is_api_token,
        )  # fmt: skip
        lines = pods.each_token(cel.all_of((condition, too_long)))
        unpatched = pods.each_token(cel.all_of((condition, cel.negated(_IS_MAGIC), too_long)))
        checks.append(ExportedCheck(violation, values, lines, unpatched if is_api_token else lines, pods.ACCOUNTS))
    variables = (*pods.pod_variables(), *pods.token_variables(), *lifetime_variables(given), *_termination(given))
    rule = token_expiration.RULE.name
    gaps = {
        f"not fully enforced: nothing caps the API server token: one of {MAGIC_EXPIRATION} seconds is allowed, a pod"
        " with a longer one is denied": (Action.PATCH, Action.REJECT),
        "not fully enforced: nothing caps a token that its author projects: a pod with one that is too long is denied":
            (Action.PATCH,),
    }  # fmt: skip
    return ExportedRule(
        rule, Subject.POD, (*checks, _outlasts()), variables, (*given.unpatched(rule, gaps), *_reported_twice(given))
    )


def _reported_twice(given: CompilerInput) -> Iterator[str]:
    """Yield that a token is reported although it would be removed, if the policy has a mode that only reports both."""
    rules = (token_expiration.RULE.name, api_token_automount.RULE.name)
    for settings in given.scopes.settings.values():
        expiration, automount = (settings.rules[rule] for rule in rules)
        if settings.mode is not Mode.ENFORCE and automount is Action.PATCH and expiration is not Action.OFF:
            yield "not the same: mode warn or audit: an API server token that would be removed is recorded as too long"
            return


def _termination(given: CompilerInput) -> Variables:
    """Yield how long a token may still be valid when the kubelet stops refreshing it; 0 without any token."""
    capping = [
        cel.TRUE if settings.rules[token_expiration.RULE.name] in (Action.PATCH, Action.REJECT) else cel.FALSE
        for settings in given.scopes.settings.values()
    ]
    yield "capping", given.scopes.condition(capping)
    effective = f"variables.capping && {is_too_long(given)} ? {cap(given)} : {_lifetime(given)}"
    of_volume = f"{pods.SOURCES}.filter(source, {pods.IS_TOKEN}).map(source, {effective}).min()"
    yield "lifetimes", f"variables.tokenVolumes.map(volume, {of_volume})"
    shortest = "variables.lifetimes.min()"
    at_refresh = f"[{shortest} * 4 / 5, 86400].min()"
    yield "remaining", f"variables.lifetimes.size() == 0 ? 4294967296 : {shortest} - {at_refresh}"


def _outlasts() -> ExportedCheck:
    grace = "object.spec.?terminationGracePeriodSeconds.orValue(0)"
    violation = Violation("", token_expiration.OUTLASTS, token_expiration.OUTLASTS_HINT, warn_only=True)
    values = {
        "path": cel.string("spec.terminationGracePeriodSeconds"),
        "grace": f"string({grace})",
        "remaining": "string(variables.remaining)",
    }
    lines = cel.once(f"{grace} > variables.remaining")
    return ExportedCheck(violation, values, lines, lines, pods.ACCOUNTS)


def is_audience_checked() -> str:
    """Return whether the audience of the token `source` matters."""
    return f"!({pods.IS_API_TOKEN}) && !(volume.name in variables.injectedVolumes)"


def lacks_audience(given: CompilerInput) -> str:
    """Return whether the token `source` names no audience, although one is required."""
    required = given.scopes.condition([
        cel.TRUE if settings.tokens.audiences.required else cel.FALSE for settings in given.scopes.settings.values()
    ])  # fmt: skip
    return cel.all_of((is_audience_checked(), f"{pods.AUDIENCE} == ''", required))


def collides(given: CompilerInput, audience: str) -> str:
    """Return whether the volume would look like an injected one with a token issued for this audience."""
    return cel.any_of(
        f"variables.selected{number} && volume.name == {cel.string(injection.volume)}"
        for number, injection in enumerate(given.policy.injections)
        if injection.audience == audience
    )


def _audience(given: CompilerInput) -> ExportedRule:
    lacks = lacks_audience(given)
    every = given.scopes.settings.items()
    checks = []
    for default in dict.fromkeys(settings.tokens.audiences.default for _, settings in every):
        where = given.scopes.where([scope for scope, settings in every if settings.tokens.audiences.default == default])
        cannot = collides(given, default) if default else cel.TRUE
        for is_patched, condition in ((True, cel.negated(cannot)), (False, cannot)):
            if condition != cel.FALSE:
                violation = Violation(
                    "", token_audience.NO_AUDIENCE, token_audience.NAME_ONE,
                    ANY_EDIT if is_patched else (),
                    cel.fixed(token_audience.ISSUED.format(default=quote(default))) if is_patched and default else "",
                )  # fmt: skip
                lines = pods.each_token(cel.all_of((where, lacks, condition)))
                checks.append(ExportedCheck(violation, {"path": pods.SOURCE_PATH}, lines, lines, pods.ACCOUNTS))
    checks += [_not_allowed(given, settings, scope) for scope, settings in every if settings.tokens.audiences.allowed]
    variables = (*pods.pod_variables(), *pods.token_variables(), *pods.injection_variables(given))
    rule = token_audience.RULE.name
    has_default = any(settings.tokens.audiences.default for _, settings in every)
    gap = "not fully enforced: nothing adds the default audience, so a pod with a token that names none is denied"
    gaps = given.unpatched(rule, {gap: (Action.PATCH,)} if has_default else {})
    return ExportedRule(rule, Subject.POD, checks, variables, gaps)


def _not_allowed(given: CompilerInput, settings: Override, scope: int) -> ExportedCheck:
    allowed = settings.tokens.audiences.allowed
    is_allowed = cel.any_of((pods.for_api_server(given), cel.matches_globs(f"{pods.TOKEN}.audience", allowed)))
    condition = cel.all_of((given.scopes.where([scope]), is_audience_checked(), cel.negated(is_allowed)))
    violation = Violation("", token_audience.NOT_ALLOWED, cel.fixed(use_one_of(allowed)))
    values = {"path": pods.SOURCE_PATH, "audience": cel.quoted(f"{pods.TOKEN}.audience")}
    lines = pods.each_token(condition)
    return ExportedCheck(violation, values, lines, lines, pods.ACCOUNTS)


def _sub_path(_: CompilerInput) -> ExportedRule:
    is_sub_path, is_expression = (f"mount.?{field}.orValue('') != ''" for field in ("subPath", "subPathExpr"))
    of_token = "variables.tokenVolumes.exists(volume, volume.name == mount.name)"  # noqa: S105 - a condition
    violation = Violation("", token_subpath.BY_SUB_PATH, token_subpath.HINT)
    values = {"path": pods.MOUNT_PATH, "field": f"({is_sub_path} ? 'subPath' : 'subPathExpr')"}
    lines = pods.each_mount(f"({is_sub_path} || {is_expression}) && {of_token}")
    tokens = f"variables.volumes.filter(volume, {pods.SOURCES}.exists(source, {pods.IS_TOKEN}))"
    variables = (*pods.pod_variables(), ("tokenVolumes", tokens))
    return ExportedRule(
        token_subpath.RULE.name,
        Subject.POD,
        (ExportedCheck(violation, values, lines, lines, pods.ACCOUNTS),),
        variables,
    )


def _host_path(given: CompilerInput) -> ExportedRule:
    path = "volume.hostPath.path"
    folders = given.policy.in_cluster().kubelet_pods
    contains = cel.matches(path, (pattern for folder in folders for pattern in paths.node_folder(folder)))
    leads = cel.matches(path, paths.process_links())
    effect = f"({contains} ? {cel.string(kubelet_hostpath.CONTAINS)} : {cel.string(kubelet_hostpath.LEADS)})"
    values = {"path": f"{pods.VOLUME_PATH} + '.hostPath'", "effect": effect, "host_path": cel.quoted(path)}
    violation = Violation("", kubelet_hostpath.EXPOSES, kubelet_hostpath.HINT)
    lines = pods.each_volume(f"has(volume.hostPath) && ({contains} || {leads})")
    checks = (ExportedCheck(violation, values, lines, lines, pods.ACCOUNTS),)
    return ExportedRule(kubelet_hostpath.RULE.name, Subject.POD, checks, tuple(pods.pod_variables()))


def is_unrequested_mount() -> str:
    """Return whether the volume mounts the API server's token in a pod that does not request it."""
    return f"{pods.IS_API_TOKEN} && {pods.IS_KUBERNETES_OWN} && !variables.requestsToken"


def automount_variables() -> Variables:
    """Yield whether the pod requests the API server's token."""
    annotation = f"object.metadata.?annotations[?{cel.string(API_TOKEN_ANNOTATION)}].orValue('')"
    automount = "object.spec.?automountServiceAccountToken.orValue(false)"
    yield "requestsToken", f"{automount} == true || {annotation} == 'true'"


def _automount(given: CompilerInput) -> ExportedRule:
    lines = pods.each_volume(is_unrequested_mount())
    rule = api_token_automount.RULE.name
    violation = Violation(
        "", api_token_automount.MOUNTED, api_token_automount.HINT, ANY_EDIT, api_token_automount.REMOVED
    )
    check = ExportedCheck(violation, {"path": pods.VOLUME_PATH}, lines, None, pods.ACCOUNTS)
    variables = (*pods.pod_variables(), *pods.token_variables(), *automount_variables())
    gap = f"not expressed: nothing removes {API_TOKEN_VOLUME}*, so the pod is let in with it"
    return ExportedRule(rule, Subject.POD, (check,), variables, given.unpatched(rule, {gap: (Action.PATCH,)}))
