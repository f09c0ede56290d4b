"""What has to change in a pod template so that none of its fields names a legacy Secret.

A volume keeps its path and its files. A variable with the token is replaced by a file. What no edit can preserve is
left to a person: above all the token of another account, because a projected token is of the pod's own.
"""

from webhook.core.json_patch import Remove
from webhook.core.pod_context import PodContext
from webhook.migrate.plan_builder import Json, PlanBuilder, TemplatePlan
from webhook.migrate.variables import plan_variables
from webhook.migrate.volumes import plan_volumes
from webhook.scan.api_types import pull_secrets


def plan_template(context: PodContext, template: Json, prefix: str = "") -> TemplatePlan:
    """Return the plan of a template: the one in `context`, with all its fields, at the JSON Pointer `prefix`."""
    builder = PlanBuilder(context, template, prefix)
    plan_volumes(builder)
    for ref in context.containers:
        if not ref.is_ephemeral:  # no pod can be created with one
            plan_variables(builder, ref)
    if not prefix:
        return builder.plan()  # the entries of a pod without effect may be its account's, and it would be created again
    for number, name in enumerate(pull_secrets(builder.raw("/spec/imagePullSecrets"))):
        if name in context.legacy_tokens:
            pointer = f"/spec/imagePullSecrets/{number}"
            builder.edits.append(Remove(pointer))
            builder.change(
                pointer, name, "pulls images", "removed; Kubernetes pulls no image with a Secret of this type"
            )
    return builder.plan()
