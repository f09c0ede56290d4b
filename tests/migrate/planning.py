"""Plans of single workloads, without any files."""

import json
from typing import Any

from tests.scan.small_cluster import NOW, policy
from webhook.core.admission_request import manifest_request
from webhook.core.cluster_state import ClusterState
from webhook.core.k8s_types import Pod
from webhook.core.webhook_namespaces import WebhookScopes
from webhook.migrate.plan_builder import TemplatePlan, value_at
from webhook.migrate.template_plan import plan_template
from webhook.scan.evaluator import PolicyEvaluator

Object = dict[str, Any]


def planned(obj: Object, tokens: dict[str, str], text: str = "") -> tuple[TemplatePlan, str]:
    """Return the plan of a workload, and the JSON Pointer of its template; `tokens` are accounts by their Secrets."""
    given = policy(text)
    cluster = ClusterState({"shop": tokens})
    group = obj["apiVersion"].rpartition("/")[0]
    raw = json.dumps(obj).encode()
    request = manifest_request((group, obj["kind"]), raw, namespace="shop", workloads=given.workloads)
    template = request.object if isinstance(request.object, Pod) else request.object.template
    context = PolicyEvaluator(given, cluster, NOW, WebhookScopes()).view("shop", template)
    pointer = request.template_pointer
    return plan_template(context, value_at(obj, pointer), pointer), pointer
