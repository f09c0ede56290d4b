"""All series, with their values, after a fixed list of reviews."""

import re
from pathlib import Path

from tests.recorded_reviews import recorded
from tests.server.replica import EXEMPTED, NOW, POLICY, Replica
from webhook.server.metrics.collector import MetricsCollector
from webhook.server.review_handler import PHASES

EXPECTED = Path(__file__).with_name("exposition.txt")
REVIEWS = (
    "configmap-other.configmaps", "pod-plain.pods", "pod-plain.pods", "pod-dry-run.pods", "pod-long-expiration.pods",
    "pod-legacy-env.pods", "pod-subpath.pods", "pod-hostpath-kubelet.pods", "secret-legacy.secrets",
    "secret-opaque.secrets",
)  # fmt: skip
EXEMPTIONS = """\
- {rules: [token-subpath], namespaces: [demo], reason: moving, until: never}
- {rules: ["*"], namespaces: [old], reason: gone, until: 2026-01-31}
"""
VARIES = r"^(\w+(?:duration_seconds_sum|duration_seconds_bucket|success_timestamp_seconds){.*) \S+$"


def test_exposition_after_a_fixed_list_of_reviews_is_as_recorded() -> None:
    replica = Replica(POLICY + EXEMPTED.replace("[demo]", "[nowhere]") + EXEMPTIONS)
    for name in REVIEWS:
        for path, phase in PHASES.items():
            replica.answer(recorded(name, path.strip("/")), phase)
    replica.answer(b"{}", PHASES["/mutate"])
    replica.handler.check_request("text/plain", "", 3, has_client_certificate=True)
    replica.metrics.count_reload("policy", accepted=True)
    replica.metrics.count_reload("policy", accepted=False)
    exposition = MetricsCollector(replica.metrics, replica.state, clock=NOW.timestamp).exposition().decode()
    assert re.sub(VARIES, r"\1 varies", exposition, flags=re.MULTILINE) == EXPECTED.read_text()
