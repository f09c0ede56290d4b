"""What the webhook would make of manifests, as a stream of YAML documents.

A document in which nothing is changed is given back as it was written. One that is changed, or that was JSON, is
written anew from its values: its comments, anchors and layout are lost.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import jsonpatch
import yaml

from webhook.core.documents import Document
from webhook.core.yaml_text import plain
from webhook.reporting.check import Judgement, Report

if TYPE_CHECKING:
    from yaml import SafeDumper as _Dumper
else:  # with libyaml, where it is there: many times faster
    _Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _KubernetesDumper(_Dumper):
    """Writes YAML that kubectl reads as it was meant."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the base's signature
        """Write everything out: no anchors."""
        return True


def _string(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    """Quote what kubectl would take for a number or a yes (`y`, `1e3`), though this writer wouldn't."""
    style = "|" if "\n" in value else None if _reads_as_text(value) and value != "<<" else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _reads_as_text(value: str) -> bool:
    try:
        return isinstance(plain(value), str)
    except OverflowError:
        return False


_KubernetesDumper.add_representer(str, _string)


def documents(report: Report) -> Iterator[str]:
    """Yield each document as the webhook would leave it, with the `---` it starts with."""
    for _, group in groupby(report.judgements, key=lambda one: id(one.manifest.source)):
        judgements = list(group)
        yield _document(judgements[0].manifest.source, _patch(judgements))


def changed(report: Report) -> int:
    """Return how many documents are not as they were written."""
    return len({id(one.manifest.source) for one in report.judgements if one.decision.patch})


def _patch(judgements: list[Judgement]) -> list[dict[str, Any]]:
    """Return the patches of the objects in a document as one of the document."""
    return [
        operation | {"path": judgement.manifest.pointer + operation["path"]}
        for judgement in judgements
        for operation in judgement.decision.patch
    ]


def _document(source: Document, patch: list[dict[str, Any]]) -> str:
    text = source.text
    if patch or text is None:
        value = jsonpatch.apply_patch(source.value(), patch)
        text = yaml.dump(value, Dumper=_KubernetesDumper, sort_keys=False, allow_unicode=True, width=2**20)
    started = text if text.startswith("---") else f"---\n{text}"
    return started if started.endswith("\n") else f"{started}\n"
