"""Placeholders in manifests that a tool replaces before kubectl reads them: those of Helm, Jinja, Flux and envsubst."""

import re
from collections.abc import Iterable

RENDERING = "helm template CHART | tokenguard check -"
"""How to check a template: by what it renders to."""
SUBSTITUTION = "envsubst < FILE | tokenguard check -"
"""How to check a manifest with variables: with their values."""
FLUX_SUBSTITUTION = "flux envsubst < FILE | tokenguard check -"
"""The same for forms that GNU's envsubst leaves as they are, such as a variable with a default."""
_PLACEHOLDER = re.compile(r"\$\{([A-Za-z_]\w*)([^}\s]?)[^}]*|^\s*\$([A-Za-z_]\w*)\s*$|\{\{[^}]*")


def placeholder_advice(text: str, column: int = 0) -> str:
    """Return which placeholder a text contains and what to do, without the rest of the text; empty if it has none.

    With a column, counted from 1, only the placeholder there counts.
    """
    for found in _PLACEHOLDER.finditer(text):
        if not column or found.start() < column <= found.end():
            name = found[1] or found[3]
            if name and found[2]:  # what follows the name may be a value
                return f"the placeholder ${{{name}{found[2]}...}}; substitute it first: {FLUX_SUBSTITUTION}"
            if name:
                return f"the placeholder ${{{name}}}; substitute it first: {SUBSTITUTION}"
            return f"an unrendered template; render it first: {RENDERING}"
    return ""


def rendering_advice(messages: Iterable[str]) -> str:
    """Return how to render the templates that these messages are about."""
    texts = list(messages)
    hints = (RENDERING, SUBSTITUTION, FLUX_SUBSTITUTION)
    return " or ".join(hint for hint in hints if any(f"first: {hint}" in text for text in texts))
