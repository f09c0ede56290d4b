"""Lines that fit a terminal."""

import textwrap


def wrapped(line: str, width: int, column: int | None = None) -> list[str]:
    """Return a line in parts that fit `width` columns, if that is not 0; words are never cut.

    The other parts begin in a column, counted from 0, or four behind the indent of the line.
    """
    if not width or len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    others = f"{indent}    " if column is None else " " * column
    return textwrap.wrap(
        line.lstrip(), width, initial_indent=indent, subsequent_indent=others,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
