"""Why a text is not YAML, and where."""

import re

import yaml
from yaml.reader import ReaderError

from webhook.core.documents.document import DocumentError


def syntax_error(error: yaml.YAMLError, text: str, first_line: int) -> DocumentError:
    """Return a parser's error about a text; `first_line` is the text's first line in its file, from 1."""
    if isinstance(error, ReaderError):
        line = text.encode()[: error.position].count(b"\n")
        message = "contains a control character, which YAML does not allow"
        return DocumentError(first_line + line, message, final=True)
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be parsed"
    if getattr(error, "context", None) == "while scanning a quoted scalar" and problem.startswith("found unexpected"):
        mark, problem = getattr(error, "context_mark", mark), "this quote is not closed"
    if getattr(error, "context", None) == "while parsing a flow node":
        problem = "a value is missing, or a [ or { is not closed"
    problem += _opening(error, first_line)
    line, column = (int(mark.line), int(mark.column) + 1) if mark else (0, 0)
    indent = re.match(r"\s*", (text.split("\n")[line : line + 1] or [""])[0])
    hint = "; indent with spaces, not tabs" if indent and "\t" in indent[0] else ""
    if "alias" in str(error):
        hint = "; put a * at the start of a text in quotes"
    return DocumentError(first_line + line, f"is not YAML: {problem}{hint}", column=column)


def _opening(error: yaml.YAMLError, first_line: int) -> str:
    """Return where the bracket is that may not be closed, if that is in another line than the error."""
    context, start, mark = (getattr(error, name, None) for name in ("context", "context_mark", "problem_mark"))
    bracket = {"while parsing a flow sequence": "[", "while parsing a flow mapping": "{"}.get(context or "")
    is_above = bracket and start and mark and start.line < mark.line
    return f" after the {bracket} in line {first_line + start.line}" if is_above and start else ""
