"""The status of a background scan: what the job writes into a ConfigMap, and the server exports as metrics."""

import datetime as dt
from collections.abc import Mapping

from msgspec import Struct

from webhook.scan.counts import OutcomeCounts

CONFIGMAP = "tokenguard-scan"
KEY = "status.json"
MAX_AGE_KEY = "max-age-seconds"
"""The key with the age at which a scan is too old, which the manifests set."""


class ScanStatus(Struct, frozen=True, rename="camel"):
    """The last complete scan.

    `policy` is the policy's revision, `api` the apiVersion of the reports and `reports` their number. `results` are the
    numbers of results, those included that were `left_out` of a report because it was full. `pods` are the running
    pods by their outcome if they were recreated, `unevaluated_pods` those that the policy would deny as they are, by
    how they were admitted.
    """

    time: dt.datetime
    policy: str
    api: str
    reports: int
    results: Mapping[str, int]
    left_out: int
    pods: OutcomeCounts
    unevaluated_pods: Mapping[str, int]
    legacy_secrets: int
