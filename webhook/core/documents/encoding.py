"""The text of a manifest file, decoded as kubectl decodes it."""

import codecs

_ENCODINGS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def decode_text(data: bytes) -> str:
    """Return the text of a file: UTF-16 after a byte order mark, else UTF-8, always without the mark.

    Bytes that are invalid in that encoding become U+FFFD, so that a comment in Latin-1 does no harm. Source:
    FileVisitor in k8s.io/cli-runtime/pkg/resource/visitor.go (`unicode.BOMOverride(unicode.UTF8.NewDecoder())`).
    """
    for mark, encoding in _ENCODINGS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    return data.decode("utf-8", "replace")
