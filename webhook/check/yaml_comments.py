"""The comments of a YAML document."""

import re
from bisect import bisect_left

import yaml

_COMMENT = re.compile(r"#[^\r\n]*")


class Comments:
    """The comments of a document, by their places: all that is not blank between two tokens."""

    def __init__(self, text: str) -> None:
        self._places: list[int] = []
        self._texts: list[str] = []
        at = 0
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            for match in _COMMENT.finditer(text, at, token.start_mark.index):
                self._places.append(match.start())
                self._texts.append(match[0])
            at = max(at, token.end_mark.index)

    def within(self, start: int, end: int) -> list[str]:
        """Return the comments that begin in a part of the text."""
        return self._texts[bisect_left(self._places, start) : bisect_left(self._places, end)]
