"""A unified diff on a terminal, in the colours that git gives it."""

from collections.abc import Iterable, Iterator

import click

_HEAD = 2
"""The number of lines with the names of the file."""
_COLOURS = {"@": "cyan", "-": "red", "+": "green"}


def coloured(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a diff of one file, with their line ends."""
    for number, line in enumerate(lines):
        text = line.removesuffix("\n")
        colour = _COLOURS.get(line[:1])
        if number < _HEAD:
            text = click.style(text, bold=True)
        elif colour:
            text = click.style(text, fg=colour)
        yield f"{text}\n" if line.endswith("\n") else text
