"""Reading values out of YAML nodes, noting every mistake with its path and line, and going on.

Each type of value is a small object that can `read` a node and describe itself as JSON Schema. What can't be read is
noted and comes out as None, so that one reading finds all mistakes.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import yaml

from webhook.core.formatting import listing, quote
from webhook.core.policy.errors import ErrorCollector

_TAG = "tag:yaml.org,2002:"
_LONGEST_NAME = 100


class Type(Protocol):
    """A type of value."""

    def read(self, node: yaml.Node, path: str, errors: ErrorCollector) -> Any:
        """Return the node's value, or None after noting what is wrong with it."""

    def schema(self) -> dict[str, Any]:
        """Return the type as JSON Schema (2020-12)."""


@dataclass(frozen=True)
class Text:
    """A text that isn't empty, of a certain form: `pattern` must match it all, `form` says so in words."""

    form: str = "a text"
    pattern: str = r"(?s).+"
    forbidden: str = ""

    def read(self, node: yaml.Node, path: str, errors: ErrorCollector) -> str | None:
        """Return the text."""
        value = _scalar(node, "str")
        if value is None:
            also = (
                f"; put it in quotes: {quote(node.value)}" if isinstance(node, yaml.ScalarNode) and node.value else ""
            )
            errors.add(path, node, f"must be {self.form}{also}")
            return None
        if not re.fullmatch(self.pattern, value) or (self.forbidden and re.search(self.forbidden, value)):
            errors.add(path, node, f"must be {self.form}, not {quote(value)}")
            return None
        return value

    def schema(self) -> dict[str, Any]:
        """Return it as a string with a description."""
        return {"type": "string", "minLength": 1, "description": self.form}


@dataclass(frozen=True)
class Number:
    """A whole number within bounds, both included."""

    low: int
    high: int

    def read(self, node: yaml.Node, path: str, errors: ErrorCollector) -> int | None:
        """Return the number."""
        value = _scalar(node, "int")
        if value is None or not re.fullmatch(r"[0-9]{1,15}", value) or not self.low <= int(value) <= self.high:
            given = f", not {_shown(node)}" if isinstance(node, yaml.ScalarNode) else ""
            errors.add(path, node, f"must be a whole number from {self.low} to {self.high}{given}")
            return None
        return int(value)

    def schema(self) -> dict[str, Any]:
        """Return it as an integer with bounds."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def read(self, node: yaml.Node, path: str, errors: ErrorCollector) -> bool | None:
        """Return the truth value."""
        value = _scalar(node, "bool")
        if value is None or value.lower() not in ("true", "false"):
            errors.add(path, node, f"must be true or false, not {_shown(node)}")
            return None
        return value.lower() == "true"

    def schema(self) -> dict[str, Any]:
        """Return it as a boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice:
    """One of some words; `off` is one also where YAML 1.1 has read it as false."""

    words: tuple[str, ...]
    what: str

    def read(self, node: yaml.Node, path: str, errors: ErrorCollector) -> str | None:
        """Return the word."""
        value = _scalar(node, "str")
        if value is None and "off" in self.words and (_scalar(node, "bool") or "").lower() in ("off", "false"):
            value = "off"
        if value not in self.words:
            hint = (errors.suggest(value, self.words) if value else "") or f"; it takes {', '.join(self.words)}"
            errors.add(path, node, f"{_shown(node)} is no {self.what}{hint}")
            return None
        return value

    def schema(self) -> dict[str, Any]:
        """Return it as an enumeration."""
        words: list[Any] = [*self.words, False] if "off" in self.words else [*self.words]
        return {"enum": words}


@dataclass(frozen=True)
class Day:
    """A date like 2027-03-31, or never."""

    def read(self, node: yaml.Node, path: str, errors: ErrorCollector) -> dt.date | str | None:
        """Return the date, or `never`."""
        value = node.value if isinstance(node, yaml.ScalarNode) else ""
        if value == "never":
            return value
        try:
            return dt.datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=dt.UTC).date()
        except ValueError:
            errors.add(path, node, f"must be a date like 2027-03-31, or never, not {_shown(node)}")
            return None

    def schema(self) -> dict[str, Any]:
        """Return it as a date or the word."""
        return {"anyOf": [{"type": "string", "format": "date"}, {"const": "never"}]}


@dataclass(frozen=True)
class ListOf:
    """A list of values of one type."""

    item: Type
    at_least: int = 0

    def read(self, node: yaml.Node, path: str, errors: ErrorCollector) -> tuple[Any, ...] | None:
        """Return the values; those that can't be read are left out, each noted."""
        if not isinstance(node, yaml.SequenceNode):
            errors.add(path, node, f"must be a list, not {_shown(node)}")
            return None
        if len(node.value) < self.at_least:
            errors.add(path, node, "must not be empty")
        values = []
        for number, child in enumerate(node.value):
            at = f"{path}[{number}]"
            errors.record_line(at, child)
            values.append(self.item.read(child, at, errors))
        return tuple(value for value in values if value is not None)

    def schema(self) -> dict[str, Any]:
        """Return it as an array."""
        return {
            "type": "array",
            "items": self.item.schema(),
            **({"minItems": self.at_least} if self.at_least else {}),
        }


@dataclass(frozen=True)
class MapOf:
    """A map from names to values of a type that may depend on the name; `of` returns None for unknown names."""

    of: Callable[[str], Type | None]
    names: tuple[str, ...] = ()
    what: str = "key"

    def read(self, node: yaml.Node, path: str, errors: ErrorCollector) -> dict[str, Any] | None:
        """Return the map of what could be read."""
        values = {}
        for name, key, child in members(node, path, errors):
            at = _below(path, name)
            kind = self.of(name)
            if kind is None:
                errors.add(at, key, f"unknown {self.what}{errors.suggest(name, self.names) or _known(self)}")
            else:
                errors.record_line(at, child)
                values[name] = kind.read(child, at, errors)
        return {name: value for name, value in values.items() if value is not None}

    def schema(self) -> dict[str, Any]:
        """Return it as an object: with these names alone, or with any where they are free."""
        if not self.names:
            free = self.of("")
            return {"type": "object", "additionalProperties": free.schema() if free else {}}
        kinds = {name: kind.schema() for name in self.names if (kind := self.of(name))}
        return {"type": "object", "properties": kinds, "additionalProperties": False}


@dataclass(frozen=True)
class Key:
    """A key of a record; `default` and `about` are for the schema, what is absent comes out as absent.

    A key that is null counts as absent, but for those for which null is a value (`nullable`).
    """

    type: Type
    about: str = ""
    default: Any = None
    required: bool = False
    nullable: bool = False


@dataclass(frozen=True)
class Record:
    """A map with known keys."""

    keys: Mapping[str, Key]

    def read(self, node: yaml.Node, path: str, errors: ErrorCollector) -> dict[str, Any] | None:
        """Return the keys that are there and could be read."""
        values: dict[str, Any] = {}
        given: set[str] = set()
        for name, key_node, child in members(node, path, errors):
            at = _below(path, name)
            given.add(name)
            key = self.keys.get(name)
            if key is None:
                errors.add(at, key_node, f"unknown key{self._hint(name, path, errors)}")
                continue
            errors.record_line(at, child)
            if _is_null(child):
                values |= {name: None} if key.nullable else {}
                if key.required:
                    errors.add(at, child, "is required")
            elif (value := key.type.read(child, at, errors)) is not None:
                values[name] = value
        if isinstance(node, yaml.MappingNode):
            for name, key in self.keys.items():
                if key.required and name not in given:
                    errors.add(_below(path, name), node, "is required")
        return values

    def _hint(self, name: str, path: str, errors: ErrorCollector) -> str:
        near = errors.suggest(name, self.keys)
        if near:
            return near
        if name in errors.key_paths and errors.key_paths[name] != path:
            return f"; did you mean {quote(errors.key_paths[name])}?"
        return f"; there are {listing(self.keys)}"

    def schema(self) -> dict[str, Any]:
        """Return it as an object with these properties alone."""
        properties = {}
        for name, key in self.keys.items():
            about = {"description": key.about} if key.about else {}
            default = {} if key.default is None else {"default": key.default}
            kind = key.type.schema() if key.required else _or_null(key.type.schema())
            properties[name] = {**kind, **about, **default}
        required = [name for name, key in self.keys.items() if key.required]
        return {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
            **({"required": required} if required else {}),
        }


def members(node: yaml.Node, path: str, errors: ErrorCollector) -> Iterable[tuple[str, yaml.Node, yaml.Node]]:
    """Yield a map's members as name, key node and value node; of a key that is given twice the first."""
    if not isinstance(node, yaml.MappingNode):
        errors.add(path, node, f"must be a map, not {_shown(node)}")
        return
    seen: dict[str, int] = {}
    for key, child in node.value:
        if not isinstance(key, yaml.ScalarNode):
            errors.add(path, key, "a key must be a text")
            continue
        name = str(key.value)
        if name in seen:
            errors.add(_below(path, name), key, f"is given twice, first in line {seen[name]}")
            continue
        seen[name] = errors.line_of(key.start_mark.line)
        yield name, key, child


def _below(path: str, name: str) -> str:
    """Return the path of a member; a name that could forge a line, or fill a page, stands there in quotes and cut."""
    if len(name) > _LONGEST_NAME or not name.isprintable() or " " in name:
        name = quote(name)
    return f"{path}.{name}" if path else name


def _scalar(node: yaml.Node, tag: str) -> str | None:
    return str(node.value) if isinstance(node, yaml.ScalarNode) and node.tag == _TAG + tag else None


def _is_null(node: yaml.Node) -> bool:
    return _scalar(node, "null") is not None


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return quote(node.value) if node.value else "nothing"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a map"


def _known(of: MapOf) -> str:
    return f"; there are {', '.join(of.names)}"


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        return {"enum": [*schema["enum"], None]}
    return {"anyOf": [*schema["anyOf"], {"type": "null"}]}
