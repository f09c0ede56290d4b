"""The rules, one file each, in the order of their findings.

A new rule is one new file with a `RULE`, its name in the import and in `RULES`, and its cases in `tests/cases/`. The
policy's schema follows; `make docs` updates the documentation.
"""

from webhook.core.rule import Rule
from webhook.core.rules import (
    api_token_automount,
    inject,
    kubelet_hostpath,
    legacy_token_reference,
    legacy_token_secret,
    token_audience,
    token_expiration,
    token_request_audience,
    token_request_binding,
    token_request_expiration,
    token_subpath,
)

RULES: tuple[Rule, ...] = (
    legacy_token_reference.RULE,
    legacy_token_secret.RULE,
    token_expiration.RULE,
    token_audience.RULE,
    token_subpath.RULE,
    kubelet_hostpath.RULE,
    api_token_automount.RULE,
    token_request_expiration.RULE,
    token_request_audience.RULE,
    token_request_binding.RULE,
    inject.RULE,
)

BY_NAME = {rule.name: rule for rule in RULES}
