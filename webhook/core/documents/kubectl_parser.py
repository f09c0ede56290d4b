"""A YAML parser that ends plain scalars in flow collections where kubectl's does.

libyaml 0.2.5 and go-yaml v2 differ there: `[a:]` is a mapping to one and the text `a:` to the other, and a `?` ends a
text in go-yaml alone. PyYAML's own scanner, in Python, is far slower than libyaml but can be adapted: it reads only the
documents in which the two may differ. Source: yaml_parser_fetch_next_token, yaml_parser_scan_to_next_token and
yaml_parser_scan_plain_scalar in go.yaml.in/yaml/v2 scannerc.go.
"""

import re

from yaml.error import Mark
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner, ScannerError
from yaml.tokens import ScalarToken

_BREAKS = "\r\n\x85\u2028\u2029"
_ENDS = f"\0 \t{_BREAKS}"
_INDICATORS = "-?:,[]{}#&*!|>'\"%@`"

AMBIGUOUS = re.compile(r"\?|:[,\[\]{}]")
"""Both parsers read a flow collection alike if it contains none of these."""

BARE_TAG = re.compile(r"(?<![^\s,:\[{])!(?=[\s,\]}])")
"""The tag `!`, which makes text of any scalar; libyaml's events do not show it."""


class KubectlParser(Reader, Scanner, Parser):
    """Parses text into PyYAML's events.

    A plain scalar in a flow collection may start with `:`, as YAML 1.2 allows; kubectl refuses it. `colon_lines` are
    the lines (from 0) that have one.
    """

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        self.colon_lines: list[int] = []

    def check_value(self) -> bool:
        """Return whether the `:` at hand separates a key from its value."""
        return bool(super().check_value()) and not self._starts_with_colon()

    def check_plain(self) -> bool:
        """Return whether a plain scalar starts here."""
        char, following = self.peek(), self.peek(1)
        if char not in _ENDS and char not in _INDICATORS:
            return True
        if char == "-":
            return following not in " \t"
        if char == ":" and self._starts_with_colon():
            self.colon_lines.append(self.line)
            return True
        return not self.flow_level and char in "?:" and following not in _ENDS

    def _starts_with_colon(self) -> bool:
        """Return whether the `:` at hand is the first character of a text, and does not follow a key."""
        is_text = self.flow_level and self.flow_level not in self.possible_simple_keys
        return bool(is_text and self.peek(1) not in f"{_ENDS},[]{{}}")

    def scan_to_next_token(self) -> None:
        """Skip spaces, tabs where they are allowed, comments and line breaks."""
        while True:
            while self.peek() == " " or (self.peek() == "\t" and (self.flow_level or not self.allow_simple_key)):
                self.forward()
            if self.peek() == "#":
                while self.peek() not in f"\0{_BREAKS}":
                    self.forward()
            if not self.scan_line_break():  # type: ignore[no-untyped-call]
                return
            if not self.flow_level:
                self.allow_simple_key = True

    def scan_plain(self) -> ScalarToken:
        """Return the plain scalar that starts here. Raises `ScannerError`."""
        start = end = self.get_mark()
        parts: list[str] = []
        blanks, folds = "", False
        while not (self.column == 0 and self.prefix(3) in ("---", "...") and self.peek(3) in _ENDS):
            length = self._plain_length()
            if self.peek() == "#" or (length == 0 and self.peek() not in f" \t{_BREAKS}"):
                break
            if length:
                parts += (blanks, self.prefix(length))
                self.forward(length)
                end = self.get_mark()
            blanks, folds = self._blanks(start)
            if not self.flow_level and self.column < self.indent + 1:
                break
        self.allow_simple_key = folds
        return ScalarToken("".join(parts), True, start, end)  # noqa: FBT003 - PyYAML's signature

    def _plain_length(self) -> int:
        length = 0
        while (char := self.peek(length)) not in _ENDS:
            if char == ":" and self.peek(length + 1) in _ENDS:
                break
            if self.flow_level and char in ",?[]{}":
                break
            length += 1
        return length

    def _blanks(self, start: Mark) -> tuple[str, bool]:
        """Skip blanks and line breaks; return what they mean within a scalar, and whether there were breaks."""
        spaces = ""
        breaks: list[str] = []
        while (char := self.peek()) in f" \t{_BREAKS}":
            if char in " \t":
                if breaks and char == "\t" and self.column < self.indent + 1:
                    problem = "found a tab character that violates indentation"
                    raise ScannerError("while scanning a plain scalar", start, problem, self.get_mark())
                spaces += char
                self.forward()
            else:
                breaks.append(str(self.scan_line_break()))  # type: ignore[no-untyped-call]
        if not breaks:
            return spaces, False
        first, *more = breaks
        return (("".join(more) or " ") if first == "\n" else "".join(breaks)), True
