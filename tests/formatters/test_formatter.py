"""Printing a report: whole, or not at all."""

import pytest

from webhook.formatters.formatter import print_report


def interrupted(_report, _options):
    for _ in range(100):
        yield "half" * 20_000
    raise KeyboardInterrupt


@pytest.mark.parametrize("output", ["text", "json"])
def test_report_interrupted_while_formatted_is_not_printed(capfdbinary, output) -> None:
    with pytest.raises(KeyboardInterrupt):
        print_report({output: interrupted}, output, None)
    assert capfdbinary.readouterr().out == b""


def test_report_larger_than_memory_allows_is_whole(capfdbinary) -> None:
    pieces = [f"{number:>1000}" for number in range(5000)]
    print_report({"json": lambda _report, _options: iter(pieces)}, "json", None)
    assert capfdbinary.readouterr().out == "".join(pieces).encode()
