"""Policy documents, and how they are read, for tests."""

from webhook.core.policy.loader import read_policy
from webhook.core.policy.model import Policy

HEAD = "apiVersion: tokenguard/v1\nkind: TokenPolicy\n"
DESIGN = """\
apiVersion: tokenguard/v1
kind: TokenPolicy
mode: enforce
rules:
  legacy-token-reference: reject
  api-token-automount: off
tokens:
  maxExpirationSeconds: 3600
  maxRequestExpirationSeconds: null
  audiences:
    required: true
    default: null
    allowed: []
apiServerToken:
  expiration: cap
  audiences: []
kubeletRootDirs: [/var/lib/kubelet]
messages: {url: "", contact: ""}
workloads:
- {apiGroup: example.com, kind: Runner, template: /spec/template}
inject:
- name: vault
  audience: https://vault.example.com
  expirationSeconds: 1800
  mountPath: /var/run/secrets/tokens/vault
  path: token
  env: VAULT_TOKEN_PATH
  onRequest: false
  namespaces: ["team-*"]
  namespaceLabels: {tier: backend}
  serviceAccounts: ["app", "payments/*"]
  podLabels: {app: shop}
overrides:
- namespaces: ["sandbox-*"]
  namespaceLabels: {}
  mode: warn
  rules: {}
  tokens: {}
exemptions:
- rules: [legacy-token-reference]
  namespaces: ["ci"]
  serviceAccounts: ["jenkins"]
  users: []
  reason: "Jenkins cannot reload a token yet, INFRA-123"
  until: 2027-03-31
"""


def mistakes(data: str | bytes) -> list[str]:
    read = read_policy(data if isinstance(data, bytes) else data.encode())
    assert not isinstance(read, Policy)
    return [str(mistake) for mistake in read]


def sound(data: str) -> Policy:
    read = read_policy(data.encode())
    assert isinstance(read, Policy), read
    return read
