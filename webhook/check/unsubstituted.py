"""Objects with placeholders of envsubst, Flux or a template, which have no value yet where rules need one."""

from collections.abc import Iterable, Iterator

from webhook.check.input_files import InputProblem
from webhook.check.report import ManifestEvaluation
from webhook.check.source_map import SourceMap
from webhook.core.decision import Coverage, Decision, Outcome
from webhook.core.decode_errors import UNREADABLE, placeholder_at
from webhook.core.manifests import Manifest
from webhook.core.placeholders import placeholder_advice


def without_placeholder(decision: Decision, manifest: Manifest) -> Decision:
    """Return the decision about a manifest; if a placeholder makes it unreadable, that it was not evaluated."""
    if not decision.problem or not placeholder_at(manifest.raw, decision.problem_field):
        return decision
    note = decision.problem.removeprefix(UNREADABLE).lstrip()
    return Decision(Outcome.ALLOWED, note=note, problem_field=decision.problem_field, coverage=Coverage.NOT_EVALUATED)


def namespace_placeholders(evaluations: Iterable[ManifestEvaluation]) -> Iterator[InputProblem]:
    """Yield a warning about the first object in each file that is evaluated in a namespace that is a placeholder."""
    warned: set[str] = set()
    for evaluation in evaluations:
        advice = placeholder_advice(evaluation.manifest.namespace)
        if not advice or not evaluation.is_evaluated or evaluation.file_path in warned:
            continue
        warned.add(evaluation.file_path)
        message = f"metadata.namespace is {advice}; until then, the policy for the real namespace is not applied"
        yield evaluation.problem_at("/metadata/namespace", message, SourceMap(evaluation.manifest.source))
