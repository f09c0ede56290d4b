"""Placeholders in manifests that a tool replaces before kubectl reads them: those of Helm, Jinja, Flux and envsubst."""

import re
from collections import Counter
from collections.abc import Iterable


def rendering_command(chart: str) -> str:
    """Return how to check the templates of a chart: by what they render to."""
    return f"helm template {chart} | tokenguard check -"


RENDERING = rendering_command("CHART")
"""The same for a chart whose folder is unknown."""
SUBSTITUTION = "envsubst < FILE | tokenguard check -"
"""How to check a manifest with variables: with their values."""
FLUX_SUBSTITUTION = "flux envsubst < FILE | tokenguard check -"
"""The same for forms that GNU's envsubst leaves as they are, such as a variable with a default."""
_FIRST = " first: "
_MAX_COMMANDS = 3
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
    """Return how to render the templates that these messages are about, each of which ends with a command."""
    commands = Counter(text.rpartition(_FIRST)[2] for text in messages if _FIRST in text)
    return " or ".join(command for command, _ in commands.most_common(_MAX_COMMANDS))
