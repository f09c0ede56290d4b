"""A test case of a policy: an object, and what the policy is expected to do about it."""

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import yaml
from msgspec import UNSET

from webhook.check.case_differences import Difference, missing_texts, patch_differences
from webhook.check.case_settings import RULE_NAMES, CaseSettings, RequestSettings, request_mistakes
from webhook.check.cluster_objects import read_cluster_objects, state_mistakes
from webhook.check.missing_objects import MissingSecrets
from webhook.check.other_findings import UNREADABLE_OBJECT
from webhook.check.sample_reviews import RESOURCES, review, with_api_token
from webhook.check.unknown_fields import misspelt_fields
from webhook.check.unknown_kinds import type_error
from webhook.core.admission_request import AdmissionRequest, Phase, read_review
from webhook.core.cluster_state import DEFAULT_NAMESPACE, ClusterState
from webhook.core.custom_workloads import WELL_KNOWN
from webhook.core.decision import INVALID_POLICY, Coverage, Decision, Outcome
from webhook.core.documents.document import Path
from webhook.core.evaluate import evaluate, policy_independent_decision
from webhook.core.formatting import did_you_mean, listing, plain, quote
from webhook.core.kinds import KINDS, Subject
from webhook.core.manifests import Manifest, cluster_of, read_manifests
from webhook.core.policy.errors import ErrorCollector, PolicyError
from webhook.core.policy.loader import lint_policy, read_policy
from webhook.core.policy.model import Action, Policy
from webhook.core.policy.schema import API_VERSION, KIND, given
from webhook.core.policy.validator import validate

ReadFile = Callable[[str], bytes]
"""Returns the content of a file that a case names. Raises `ValueError` with the reason if it cannot be read."""

_DEFAULT_OBJECT = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}}
_NO_OBJECT = "must be a map, or the name of a file: FILE or FILE#KIND/NAME"
_STRENGTH = [Action.AUDIT, Action.WARN, Action.PATCH, Action.REJECT]


class PolicyCase:
    """A case that can be evaluated. `object` is as the API server would send it."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a case consists of
        self,
        settings: CaseSettings,
        policy: Policy,
        cluster: ClusterState,
        obj: dict[str, Any],
        request: dict[str, Any],
        now: dt.datetime,
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.cluster = cluster
        self.object = obj
        self.request = request
        self.missing_secrets: list[tuple[str, str]] = []
        """The Secrets that pods of the object use and the cluster lacks: they count as no legacy tokens."""
        self._now = now

    def policy_warnings(self, now: dt.datetime) -> tuple[PolicyError, ...]:
        """Return what has no effect in a policy that the case contains, neither now (aware) nor at its own time."""
        keys = self.settings.policy
        return lint_policy(_policy_data(keys), min(now, self._now))[1] if isinstance(keys, dict) else ()

    def read(self, obj: dict[str, Any], phase: Phase) -> AdmissionRequest:
        """Return the request about an object."""
        return read_review(review(obj, **self.request), phase, self.policy.workloads)

    def evaluate(self, obj: dict[str, Any], phase: Phase) -> Decision:
        """Return the decision about an object in the case's place."""
        return evaluate(self.read(obj, phase), self.policy, self.cluster, self._now)

    @property
    def expected_decision(self) -> Outcome:
        """The decision that is expected: allowed, unless the case says otherwise."""
        patched = isinstance(self.settings.patched, dict)
        return Outcome(given(self.settings.decision, Outcome.PATCHED if patched else Outcome.ALLOWED))

    @property
    def is_default_expected(self) -> bool:
        """Whether the case says neither which decision nor which patched object it expects."""
        return self.settings.decision is UNSET and not isinstance(self.settings.patched, dict)

    def failures(self) -> Iterator[Difference]:
        """Yield each difference between what is expected and what happens."""
        settings, decision = self.settings, self.evaluate(self.object, Phase.CHECK)
        expected, outcome = self.expected_decision, Outcome.DENIED if decision.problem else decision.outcome
        if outcome is not expected:
            text = f"decision: expected {expected}, got {outcome}{_reasons(decision)}"
            yield Difference("decision", expected, outcome, text)
        is_explained = isinstance(settings.findings, dict) or isinstance(settings.says, tuple)
        if decision.problem and outcome is expected and not is_explained:
            text = f"{decision.problem}; if that is what you test, add findings: {{{UNREADABLE_OBJECT}: reject}}"
            yield Difference("findings", {}, {UNREADABLE_OBJECT: Action.REJECT}, text)
        if isinstance(settings.findings, dict) and settings.findings != (actions := _actions(decision)):
            reasons = _reasons(decision) if outcome is expected else ""  # else they are above
            text = f"findings: expected {_shown(settings.findings)}, got {_shown(actions)}{reasons}"
            yield Difference("findings", settings.findings, actions, text)
        if isinstance(settings.patched, dict):
            yield from patch_differences(_with_head(self.object, settings.patched), _patched(self.object, decision))
        if isinstance(settings.says, tuple):
            yield from missing_texts("says", settings.says, self.messages(), "the webhook says")
        if isinstance(settings.exempted, tuple):
            exempted = [f"{rule}: {exemption}" for rule, exemption in decision.exemptions]
            yield from missing_texts("exempted", settings.exempted, exempted, "exemptions that apply")

    def messages(self) -> list[str]:
        """Return what the webhook says to the author: the lines of a denial, and warnings."""
        mutated = self.evaluate(self.object, Phase.MUTATE)
        validated = self.evaluate(_patched(self.object, mutated), Phase.VALIDATE)
        lines: list[str] = []
        for decision in (mutated, validated):
            denied = decision.outcome is Outcome.DENIED
            lines += [*map(str, decision.rejections()), *map(str, decision.policy_errors)]
            lines += [decision.problem] if denied and decision.problem else []
            lines += [*decision.warnings()]
        return [*lines, self.policy.help] if lines and self.policy.help else lines

    def mistakes(self, *, is_complete: bool) -> Iterator[tuple[Path, str]]:
        """Yield why the object is probably not the one that is meant: a misspelt kind or field.

        If the case has other errors, it is not complete: what it expects of an object without rules is unknown.
        """
        request = self.read(self.object, Phase.CHECK)
        is_intended = self.settings.decision is not UNSET or "operation" in self.request
        decision = policy_independent_decision(request, self.cluster.own_namespace, self._now)
        if decision and decision.coverage is Coverage.NOT_EVALUATED and not is_intended and is_complete:
            note, hint = f"is not evaluated: {decision.note}", "; add decision: allowed if that is intended"
            if request.subject is None:
                group = self.object["apiVersion"].rpartition("/")[0]
                known = [kind for within, kind in (*KINDS, *WELL_KNOWN, *self.policy.workloads) if within == group]
                otherwise = "; correct apiVersion and kind, or add decision: allowed if that is intended"
                note, hint = decision.note, did_you_mean(self.object["kind"], known) or otherwise
            yield (), f"{note}{hint}"
        if request.subject is not Subject.POLICY:  # a ConfigMap's keys may have any name
            yield from misspelt_fields(self.object, request.object)


def build_case(
    document: dict[str, Any], read_file: ReadFile, default: Policy, now: dt.datetime, errors: ErrorCollector
) -> PolicyCase | None:
    """Return the case of a document, or None after adding its errors. `now` is the time unless the case names one."""
    known = {key: value for key, value in document.items() if not key.startswith("x-")}
    settings: CaseSettings = validate(known, CaseSettings, errors)
    build = _Builder(read_file, errors)
    for rule in given(settings.findings, {}):
        if rule not in RULE_NAMES:
            errors.add(("findings",), f"unknown rule {quote(rule)}{errors.suggest(rule, RULE_NAMES)}", key=rule)
    policy = default if settings.policy is UNSET else build.policy(settings.policy)
    sent = given(settings.request, RequestSettings())
    for path, message in request_mistakes(sent):
        errors.add(path, message)
    request = {key: value for key in RequestSettings.__struct_fields__ if (value := getattr(sent, key)) is not UNSET}
    obj = build.object(("object",), settings.object)
    request["old"] = build.object(("old",), settings.old) if settings.old not in (UNSET, None) else None
    time = build.time(settings.now) if isinstance(settings.now, str) else now
    state = list(build.manifests(given(settings.cluster, ())))
    if obj is None:
        if known.get("object") == "":  # that it is missing is an error already
            errors.add(("object",), _NO_OBJECT)
        return None
    build.namespace(obj, request)
    base = ClusterState(own_namespace=given(settings.own_namespace, DEFAULT_NAMESPACE))
    if isinstance(settings.api_audiences, tuple):
        base = ClusterState(own_namespace=base.own_namespace, api_audiences=settings.api_audiences)
    cluster = cluster_of(state, base, request["namespace"])
    case = PolicyCase(settings, policy or default, cluster, obj, request, time)
    missing = MissingSecrets(state, case.policy, cluster, request["namespace"])
    case.missing_secrets = missing.used_by(case.read(obj, Phase.CHECK).object, request["namespace"])
    for path, message in case.mistakes(is_complete=not errors.count):
        errors.add(("object", *path), message)
    if settings.api_token is True:
        read = case.read(obj, Phase.CHECK)
        if isinstance(obj.get("spec"), dict) and read.subject is Subject.POD and not read.problem:
            case.object = with_api_token(obj)
        else:
            errors.add(("apiToken",), "only a valid Pod that is created has this token")
    return None if errors.count else case


class _Builder:
    """Makes the parts of a case from their values, or adds errors."""

    def __init__(self, read_file: ReadFile, errors: ErrorCollector) -> None:
        self._read_file = read_file
        self._errors = errors

    def _content(self, path: Path, name: str) -> bytes | None:
        try:
            return self._read_file(name)
        except ValueError as error:
            self._errors.add(path, f"{quote(name)}: {error}")
            return None

    def policy(self, value: Any) -> Policy | None:
        """Return the policy in a file or a map."""
        if isinstance(value, str):
            data = self._content(("policy",), value)
        elif isinstance(value, dict):
            data = _policy_data(value)
        else:
            self._errors.add(("policy",), "must be a map, or the name of a file")
            return None
        result = () if data is None else read_policy(data)
        if isinstance(result, Policy):
            return result
        for error in result:
            where = f"{quote(value)}: {error}" if isinstance(value, str) else f"{error.path}: {error.message}"
            self._errors.add(("policy",), where.removeprefix(": "))
        return None

    def object(self, path: Path, value: Any) -> dict[str, Any] | None:
        """Return the object in a map or a file."""
        if isinstance(value, dict):
            group = RESOURCES.get(str(value.get("kind", "Pod")), ("",))[0]
            obj = {**_DEFAULT_OBJECT, "apiVersion": f"{group}/v1".lstrip("/"), **value}
            before = self._errors.count
            read = [self._check_kind(path, manifest) for manifest in self._read(path, json.dumps(obj).encode(), "")]
            if len(read) != 1 and self._errors.count == before:
                self._errors.add(path, "must be one object, not a List")
            return obj if len(read) == 1 else None
        if not isinstance(value, str) or not value:
            if value != "" or path != ("object",):
                self._errors.add(path, _NO_OBJECT)
            return None
        name, _, wanted = value.partition("#")
        before = self._errors.count
        every = list(self._in_file(path, name))
        manifests = [manifest for manifest in every if wanted in ("", manifest.title)]
        if len(manifests) == 1:
            return self._check_kind(path, manifests[0])
        if self._errors.count == before:
            titles = [manifest.title for manifest in every]
            if manifests:
                message = f"{quote(value)} has {len(manifests)} objects; name one of them: {name}#KIND/NAME"
            elif wanted:
                hint = self._errors.suggest(wanted, titles) or f"; it has {listing(titles)}"
                message = f"{quote(name)} has no {plain(wanted)}{hint}"
            else:
                message = f"{quote(name)} has no object"
            self._errors.add(path, message)
        return None

    def namespace(self, obj: dict[str, Any], request: dict[str, Any]) -> None:
        """Set the namespace of the request to the object's if it has none, else add an error if it is another one."""
        metadata = obj.get("metadata")
        namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
        if not (namespace and isinstance(namespace, str)):
            request.setdefault("namespace", "default")
        elif (sent := request.setdefault("namespace", namespace)) != namespace:
            message = f"is {quote(sent)}, but the object is in namespace {quote(namespace)}"
            self._errors.add(("request", "namespace"), message)

    def _check_kind(self, path: Path, manifest: Manifest) -> dict[str, Any]:
        """Return the object, after adding an error if Kubernetes has no such kind."""
        if message := type_error(manifest)[1]:
            self._errors.add(path, message)
        obj: dict[str, Any] = json.loads(manifest.raw)
        return obj

    def manifests(self, values: Iterable[Any]) -> Iterator[Manifest]:
        """Yield the objects in maps and files."""
        for number, value in enumerate(values):
            path = ("cluster", number)
            if isinstance(value, str):
                yield from self._state_in_file(path, value)
                continue
            for manifest in self._read(path, json.dumps(value).encode(), ""):
                for below, message in state_mistakes(manifest, in_file=False):
                    self._errors.add((*path, *below), message)
                yield manifest

    def _state_in_file(self, path: Path, name: str) -> list[Manifest]:
        if (data := self._content(path, name)) is None:
            return []
        manifests, problems = read_cluster_objects(data)
        for problem in problems:
            self._errors.add(path, f"{quote(name)}: {problem}")
        return manifests

    def _in_file(self, path: Path, name: str) -> Iterator[Manifest]:
        data = self._content(path, name)
        return iter(()) if data is None else self._read(path, data, f"{quote(name)}: ")

    def _read(self, path: Path, data: bytes, where: str) -> Iterator[Manifest]:
        reading = read_manifests(data)
        for problem in reading.problems:
            self._errors.add(path, f"{where}{problem if where else problem.message}")
        yield from reading.manifests

    def time(self, text: str) -> dt.datetime:
        """Return a date, or a time with its zone, as a time."""
        try:
            time = dt.datetime.fromisoformat(text)
        except ValueError:
            self._errors.add(("now",), f"{quote(text)} is not a date such as 2027-03-31, or a time")
            return dt.datetime.now(dt.UTC)
        return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _policy_data(keys: dict[str, Any]) -> bytes:
    """Return the document of a policy whose keys a case contains."""
    return yaml.safe_dump({"apiVersion": API_VERSION, "kind": KIND, **keys}, sort_keys=False).encode()


def _patched(obj: dict[str, Any], decision: Decision) -> dict[str, Any]:
    from jsonpatch import apply_patch  # noqa: PLC0415 - only a patch needs it

    patched: dict[str, Any] = apply_patch(obj, list(decision.patch)) if decision.patch else obj
    return patched


def _with_head(obj: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    return {**{key: obj[key] for key in _DEFAULT_OBJECT if key in obj}, **rest}


def _actions(decision: Decision) -> dict[str, Action]:
    """Return the strongest action for each rule."""
    others = {INVALID_POLICY: decision.policy_errors, UNREADABLE_OBJECT: decision.problem}
    actions: dict[str, Action] = {rule: Action.REJECT for rule, problem in others.items() if problem}
    for finding in sorted(decision.findings, key=lambda finding: _STRENGTH.index(finding.action)):
        actions[finding.rule] = finding.action
    return actions


def _shown(actions: dict[str, Action]) -> str:
    return "{" + ", ".join(f"{rule}: {action}" for rule, action in sorted(actions.items())) + "}"


def _reasons(decision: Decision) -> str:
    lines = [*map(str, decision.findings), *map(str, decision.policy_errors), *filter(None, [decision.problem])]
    lines += [decision.note] if decision.note and not lines else []
    return "".join(f"\n  {line}" for line in lines)
