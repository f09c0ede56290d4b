"""Pieces of CEL expressions (https://cel.dev), as the API server of Kubernetes 1.30 and newer compiles them."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from string import Formatter

from webhook.core.formatting import MAX_QUOTED
from webhook.core.selectors import Accounts, Globs, Labels

TRUE, FALSE = "true", "false"
NO_LINES = "[]"
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def string(value: str) -> str:
    """Return a string literal."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def strings(values: Iterable[str]) -> str:
    """Return a list of string literals."""
    return f"[{', '.join(map(string, values))}]"


def text(template: str, values: Mapping[str, str]) -> str:
    """Return the expression of a text: `template` as for `str.format`, `values` the string expression of each field."""
    parts = []
    for literal, field, _, _ in Formatter().parse(template):
        if literal:
            parts.append(string(literal))
        if field is not None:
            parts.append(values[field])
    return " + ".join(parts) or string("")


def fixed(value: str) -> str:
    """Return a text as a template in which nothing is a field."""
    return value.replace("{", "{{").replace("}", "}}")


def quoted(expression: str) -> str:
    """Return a string in double quotes, cut and escaped, so that it fits into one line."""
    cut = f"({expression}.size() > {MAX_QUOTED} ? {expression}.substring(0, {MAX_QUOTED - 1}) + '…' : {expression})"
    return f"strings.quote({cut})"


def all_of(conditions: Iterable[str]) -> str:
    """Return whether all conditions hold; without any, they do."""
    terms = [condition for condition in conditions if condition != TRUE]
    if FALSE in terms:
        return FALSE
    return terms[0] if len(terms) == 1 else " && ".join(map(_in_parentheses, terms)) or TRUE


def any_of(conditions: Iterable[str]) -> str:
    """Return whether any condition holds; without any, none does."""
    terms = [condition for condition in conditions if condition != FALSE]
    if TRUE in terms:
        return TRUE
    return terms[0] if len(terms) == 1 else " || ".join(map(_in_parentheses, terms)) or FALSE


def negated(condition: str) -> str:
    """Return whether a condition does not hold."""
    return {TRUE: FALSE, FALSE: TRUE}.get(condition) or f"!({condition})"


def _in_parentheses(condition: str) -> str:
    return f"({condition})"


def escaped(name: str) -> str:
    """Return a regular expression (RE2) that matches just this text."""
    return _SPECIAL.sub(r"\\\g<0>", name)


def matches(subject: str, patterns: Iterable[str]) -> str:
    """Return whether the whole of a string matches any of the regular expressions."""
    every = "|".join(patterns)
    return f"{subject}.matches({string(f'^(?:{every})$')})"


def matches_globs(subject: str, globs: Globs) -> str:
    """Return whether a string matches any of the globs: `*` is any run of characters except `/`."""
    conditions = [f"{subject} in {strings(sorted(globs.exact))}"] if globs.exact else []
    if globs.wild:
        conditions.append(matches(subject, ("[^/]*".join(map(escaped, glob.split("*"))) for glob in globs.wild)))
    return any_of(conditions)


def matches_accounts(account: str, accounts: Accounts) -> str:
    """Return whether a ServiceAccount of the request's namespace is one of those of a selector."""
    names = Globs(tuple(pattern for pattern in accounts.patterns if "/" not in pattern))
    full = Globs(tuple(pattern for pattern in accounts.patterns if "/" in pattern))
    return any_of((matches_globs(account, names), matches_globs(f"(request.namespace + '/' + {account})", full)))


def has_labels(metadata: str, labels: Labels) -> str:
    """Return whether an object's labels include these; `metadata` is its metadata."""
    return all_of(
        f"{metadata}.?labels[?{string(key)}] == optional.of({string(value)})" for key, value in sorted(labels)
    )


def flattened(lists: str) -> str:
    """Return the lines in a list of texts, each of several lines or none: CEL has no other way to join lists."""
    return f"{lists}.filter(text, text != '').join('\\n').split('\\n').filter(text, text != '')"


def once(condition: str) -> Callable[[str], str]:
    """Return a function that returns a list with a line if a condition holds."""
    return lambda line: f"{condition} ? [{line}] : {NO_LINES}"
