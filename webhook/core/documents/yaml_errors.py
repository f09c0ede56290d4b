"""Why a text is not YAML, and where."""

import re

import yaml
from yaml.reader import ReaderError

from webhook.core.documents.document import DocumentError

_IN_SIMPLE_KEY = "while scanning a simple key"


def syntax_error(error: yaml.YAMLError, text: str, first_line: int, opened: yaml.Event | None = None) -> DocumentError:
    """Return a parser's error about a text; `first_line` is the text's first line in its file, from 1.

    `opened` is the start of the innermost flow collection that is not closed yet: at the end of the text, that is what
    is wrong.
    """
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
    lines = text.split("\n")
    if mark and opened and _is_end(mark, lines):
        bracket = "{" if isinstance(opened, yaml.MappingStartEvent) else "["
        mark, problem = opened.start_mark, f"this {bracket} is not closed"
    elif getattr(error, "context", None) == _IN_SIMPLE_KEY:
        mark = getattr(error, "context_mark", None) or mark
    else:
        problem += _opening(error, first_line)
    line, column = (int(mark.line), int(mark.column) + 1) if mark else (0, 0)
    last = text.rstrip().count("\n")
    if line > last:
        line, column = last, 0
    indent = re.match(r"\s*", lines[line])
    hint = "; indent with spaces, not tabs" if indent and "\t" in indent[0] else ""
    if "alias" in str(error):
        hint = "; put a * at the start of a text in quotes"
    return DocumentError(first_line + line, f"is not YAML: {problem}{hint}", column=column)


def _is_end(mark: yaml.Mark, lines: list[str]) -> bool:
    """Return whether nothing but white space follows."""
    first, *others = lines[mark.line :] or [""]
    return not (first[mark.column :].strip() or any(map(str.strip, others)))


def _opening(error: yaml.YAMLError, first_line: int) -> str:
    """Return where the bracket is that may not be closed, if that is in another line than the error."""
    context, start, mark = (getattr(error, name, None) for name in ("context", "context_mark", "problem_mark"))
    bracket = {"while parsing a flow sequence": "[", "while parsing a flow mapping": "{"}.get(context or "")
    is_above = bracket and start and mark and start.line < mark.line
    return f" after the {bracket} in line {first_line + start.line}" if is_above and start else ""
