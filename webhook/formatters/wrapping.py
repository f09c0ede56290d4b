"""Lines that fit a terminal."""

import textwrap


def wrapped(line: str, width: int) -> list[str]:
    """Return a line in parts that fit `width` columns, if that is not 0; words are never cut."""
    if not width or len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line.lstrip(), width, initial_indent=indent, subsequent_indent=f"{indent}    ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
