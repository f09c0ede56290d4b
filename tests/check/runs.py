"""Runs of `check` for tests: over texts, without files and without the command."""

import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

from webhook.check.checker import check
from webhook.check.input_files import find
from webhook.check.report import CheckReport
from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy
from webhook.formatters import check_concise, check_json, check_text
from webhook.formatters.formatter import FormatOptions

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)

LEGACY_SECRET = """\
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata:
  name: robot-token
  annotations: {kubernetes.io/service-account.name: robot}
"""
LEGACY_POD = """\
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  containers:
  - name: app
    image: app:1
    env:
    - name: TOKEN
      valueFrom: {secretKeyRef: {name: robot-token, key: token}}
"""
SERVICE_ACCOUNT = """\
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
automountServiceAccountToken: true
secrets:
- name: database
- name: robot-token
"""
LONG_POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: long  # a comment
spec:
  containers:
  - {name: app, image: "app:1"}
  volumes:
  - name: token
    projected:
      sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 86400
          audience: https://api.spicybiryaniwala.shop
"""
SEED_POD = """\
apiVersion: v1
kind: Pod
metadata: {name: seed}
spec:
  containers: [{name: app, image: "app:1"}]
  volumes:
  - name: token
    projected:
      sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 1800
          audience: https://api.spicybiryaniwala.shop
"""
SUBPATH_POD = SEED_POD.replace("{name: seed}", "{name: subpath}").replace(
    'image: "app:1"', 'image: "app:1", volumeMounts: [{name: token, mountPath: /t, subPath: token}]'
)
BAD_POLICY = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: token-policy, labels: {tokenguard/policy: "true"}}
data:
  other: anything
  policy.yaml: |

    apiVersion: tokenguard/v1
    kind: TokenPolicy
    modee: warn
    tokens: {maxExpirationSeconds: 5}
"""
UNREADABLE_POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: odd}\nspec: {volumes: 3}\n"
INJECTION = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
inject:
- {name: vault, audience: https://vault.example.com, mountPath: /var/run/secrets/tokens/vault}
"""


def policy(text: str = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n") -> Policy:
    read = read_policy(text.encode())
    assert isinstance(read, Policy), read
    return read


def joined(*texts: str) -> str:
    return "---\n".join(texts)


def checked(*texts: str, under: Policy | None = None, namespace: str = "default") -> CheckReport:
    """Check the texts as documents of stdin."""
    stdin = io.BytesIO(joined(*texts).encode())
    return check(find(["-"]), under or policy(), now=NOW, namespace=namespace, stdin=stdin)


def checked_paths(*paths: Path | str, under: Policy | None = None) -> CheckReport:
    return check(
        find([str(path) for path in paths]), under or policy(), now=NOW, namespace="default", stdin=io.BytesIO()
    )


def concise_lines(report: CheckReport, **options: bool) -> list[str]:
    return list(check_concise.format_report(report, FormatOptions(**options)))


def text_lines(report: CheckReport, **options: Any) -> list[str]:
    return list(check_text.format_report(report, FormatOptions(**options)))


def json_document(report: CheckReport, **options: bool) -> Any:
    return json.loads("".join(check_json.format_report(report, FormatOptions(**options))))
