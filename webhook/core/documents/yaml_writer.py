"""Writes YAML that kubectl reads as the same values."""

import re
from typing import TYPE_CHECKING, Any

import yaml

from webhook.core.documents.yaml_scalars import plain

if TYPE_CHECKING:
    from yaml import SafeDumper as _Dumper
else:  # with libyaml, where it is there: many times faster
    _Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_MODES = frozenset({"defaultMode", "mode"})
_OCTAL_MODE = re.compile(r"\b(?:mode|defaultMode)[\"']?\s*:\s*0[0-7]")


class _KubernetesDumper(_Dumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the base's signature
        """Write no anchors."""
        return True


def _string(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    """Quote what kubectl would read as a number or a boolean (`y`, `1e3`), even if this writer would not."""
    style = "|" if "\n" in value else None if _reads_as_text(value) and value != "<<" else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _reads_as_text(value: str) -> bool:
    return isinstance(plain(value), str)


class _FileMode(int):
    """The mode of a file, which is written in octal: `0440`. kubectl and kustomize read it as YAML 1.1 does."""


def _file_mode(dumper: _Dumper, value: _FileMode) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:int", f"0{value:03o}")


_KubernetesDumper.add_representer(str, _string)
_KubernetesDumper.add_representer(_FileMode, _file_mode)


def has_octal_modes(text: str) -> bool:
    """Return whether a document writes the modes of files in octal."""
    return _OCTAL_MODE.search(text) is not None


def with_file_modes(value: Any) -> Any:
    """Return a value with the modes of files in octal: a reviewer knows 0440, and not 288."""
    if isinstance(value, list):
        return [with_file_modes(member) for member in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _FileMode(member) if key in _MODES and isinstance(member, int) else with_file_modes(member)
        for key, member in value.items()
    }


def write_document(value: Any) -> str:
    """Return a document, which begins with `---`; keys stay in their order."""
    written: str = yaml.dump(value, Dumper=_KubernetesDumper, sort_keys=False, allow_unicode=True, width=2**20)
    return f"---\n{written}"


def write_block(value: Any, *, indents_lists: bool) -> str:
    """Return a collection in block style; `indents_lists`: lists in mappings are indented below their keys."""
    dumper = _IndentingDumper if indents_lists else _KubernetesDumper
    written: str = yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, width=2**20)
    return written


class _IndentingDumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - the base's signature
        """Indent lists, too."""
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the base's signature
        """Write no anchors."""
        return True


_IndentingDumper.add_representer(str, _string)
_IndentingDumper.add_representer(_FileMode, _file_mode)


def write_flow(value: Any) -> str:
    """Return a value in one line, in flow style."""
    written: str = yaml.dump(
        value, Dumper=_FlowDumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=2**30
    )
    return written.removesuffix("...\n").rstrip("\n")


class _FlowDumper(_KubernetesDumper):
    """Writes text of several lines in double quotes."""


def _flow_string(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = None if _reads_as_text(value) and value != "<<" and "\n" not in value else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_FlowDumper.add_representer(str, _flow_string)
