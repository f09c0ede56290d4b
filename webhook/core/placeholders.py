"""Placeholders in manifests that a tool replaces before kubectl reads them: those of Helm, Jinja, Flux and envsubst."""

import re
from collections.abc import Iterable

RENDERING = "helm template CHART | tokenguard check -"
"""How to check a template: by what it renders to."""
SUBSTITUTION = "envsubst < FILE | tokenguard check -"
"""How to check a manifest with variables: with their values."""
_PLACEHOLDER = re.compile(r"\$\{([A-Za-z_]\w*)[^}]*|^\s*\$([A-Za-z_]\w*)\s*$|\{\{[^}]*")


def placeholder_advice(text: str, column: int = 0) -> str:
    """Return which placeholder a text contains and what to do, without the rest of the text; empty if it has none.

    With a column, counted from 1, only the placeholder there counts.
    """
    for found in _PLACEHOLDER.finditer(text):
        if not column or found.start() < column <= found.end():
            name = found[1] or found[2]
            if name:
                return f"the placeholder ${{{name}}}; substitute it first: {SUBSTITUTION}"
            return f"an unrendered template; render it first: {RENDERING}"
    return ""


def rendering_advice(messages: Iterable[str]) -> str:
    """Return how to render the templates that these messages are about."""
    texts = list(messages)
    return " or ".join(hint for hint in (RENDERING, SUBSTITUTION) if any(hint in text for text in texts))
