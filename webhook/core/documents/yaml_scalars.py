"""What a YAML scalar means to kubectl: YAML 1.1 as go-yaml v2 resolves it, without dates and base-60 numbers.

Source: go.yaml.in/yaml/v2 resolve.go, and the conversion of keys in sigs.k8s.io/yaml yaml.go.
"""

import base64
import binascii
import re
import struct
from decimal import Decimal
from math import isfinite, isinf, isnan

from webhook.core.formatting import quote

Scalar = str | int | float | bool | None

_PREFIX = "tag:yaml.org,2002:"
_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "timestamp": (str,),
}
"""The tags that go-yaml checks, and the Python types of the values that each accepts."""

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_NUMBER_STARTS = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_FRACTION = re.compile(r"\.[0-9]+(_[0-9]+)*([eE][-+]?[0-9]+(_[0-9]+)*)?")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?")
_MAX_DIGITS = 4000
_INT64 = 2**63


def plain(text: str) -> Scalar:
    """Return what a scalar without quotes and tag means: a float may be infinite or NaN, which JSON doesn't have."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if text[0] == "." and not _FRACTION.fullmatch(text):
        return text
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(digits) and len(digits) < _MAX_DIGITS:
        octal = digits.lstrip("+-")
        number = int(digits, 8 if octal[0] == "0" and octal.isdigit() else 0)
        if -_INT64 <= number < 2 * _INT64:
            return number if number < _INT64 else float(number)
    if _FLOAT.fullmatch(digits) and not isinf(real := float(digits)):
        return real
    return text


def canonical(text: str) -> Scalar:
    """Return what a plain scalar means, as text unless it is null or written in the canonical form of its type."""
    value = plain(text)
    return value if value is None or str(value).lower() == text.lower() else text


def json_number(number: float) -> int | float:
    """Return a number as it is after its way through JSON: a whole one is an integer. Raises `ValueError`."""
    if not isfinite(number):
        raise ValueError("is not a finite number, which JSON needs; put it in quotes")
    return int(number) if number.is_integer() and abs(number) < _INT64 else number


def tagged(text: str, tag: str) -> Scalar:
    """Return what a scalar with a tag, such as `tag:yaml.org,2002:int`, means. Raises `ValueError`."""
    name = tag.removeprefix(_PREFIX)
    if name == tag or (name not in _TYPES and name != "binary"):
        return text
    if name == "binary":
        try:
            return base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True).decode(errors="replace")
        except binascii.Error:
            raise ValueError("is not base64; remove the tag !!binary, or encode the text") from None
    value = plain(text)
    if type(value) not in _TYPES[name] or (name == "timestamp" and not _TIMESTAMP.fullmatch(text)):
        raise ValueError(f"{quote(text)} is not of type {name}; remove the tag !!{name}, or change the value")
    return value


def key_text(key: Scalar) -> str | None:
    """Return the string that a mapping's key becomes in JSON, or None for null, which can't be a key."""
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, float):
        return _float_text(key)
    return None if key is None else str(key)


def _float_text(number: float) -> str:
    """Return a number as Go's `strconv.FormatFloat(number, 'g', -1, 32)` writes it, but .inf and .nan."""
    if isnan(number):
        return ".nan"
    try:
        single = _as_single(number)
    except OverflowError:
        single = float("inf") if number > 0 else float("-inf")
    if isinf(single):
        return ".inf" if single > 0 else "-.inf"
    shortest = next(text for digits in range(9) if _as_single(float(text := f"{single:.{digits}e}")) == single)
    mantissa, _, exponent = shortest.partition("e")
    if -4 <= int(exponent) < 6:
        return f"{Decimal(shortest):f}"
    return f"{mantissa}e{exponent}"


def _as_single(number: float) -> float:
    single: float = struct.unpack("f", struct.pack("f", number))[0]
    return single
