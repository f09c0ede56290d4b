"""What the demo tells, and how it shows an answer to somebody who has never heard of projected tokens."""

import base64
import copy
import difflib
import json
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import jsonpatch
import yaml

from webhook.demo.server import Server

_HERE = Path(__file__).parent
_WIDTH = 100

INTRODUCTION = """\
A pod proves who it is with a token of its ServiceAccount. There are two kinds:

  - a LEGACY token lies in a Secret and never expires: whoever gets a copy has it for good;
  - a PROJECTED token is made for one pod, made out to one audience (say, Vault), soon expires, and
    is refreshed in its file by the node. A copy is worthless within the hour.

tokenguard stands between `kubectl apply` and the cluster. The API server shows it every new pod twice:
/mutate may mend the pod, /validate judges the result. Below are four pods, as a real API server sent them."""

PODS = (
    (
        "plain",
        "A plain pod",
        "Its author asked for no token. Kubernetes adds one all the same: 3607 seconds there really mean a YEAR.",
    ),
    (
        "legacy-token",
        "A pod that reads a legacy token",
        'An init container and a container take the never-ending token of Secret "app-token" into their environment.',
    ),
    (
        "day-long-token",
        "A pod with a day-long token",
        "Its author projects a token for AWS: the right kind, but it asks for 86400 seconds. The policy allows 3600.",
    ),
    (
        "seed",
        "A pod that does it right",
        "A projected token, made out to one service, for half an hour: this volume is left as it stands.",
    ),
)


_SENTENCES = {
    "token-expiration": "A token is capped: the one at {path}",
    "inject": "A token is mounted: the pod",
}


class Story:
    """What happens to the pods, one after the other; what was told of the first is not told again."""

    def __init__(self, server: Server) -> None:
        """Take the server to send them to."""
        self._server = server
        self._line: dict[str, Any] = {}
        self._findings: set[tuple[str, str]] = set()
        self._hunks: set[tuple[str, ...]] = set()

    def tell(self) -> Iterator[str]:
        """Send each pod through /mutate and /validate and yield what happened, line by line."""
        for number, (name, title, about) in enumerate(PODS, 1):
            review = json.loads((_HERE / "reviews" / f"{name}.json").read_bytes())
            yield ""
            yield f"{number}. {title} ".ljust(_WIDTH, "-")
            yield from textwrap.wrap(about, _WIDTH)
            yield ""
            yield from _indented(self._sent(review), "   ")

    def _sent(self, review: dict[str, Any]) -> Iterator[str]:
        before = review["request"]["object"]
        mutated, mutate_line = self._server.review("mutate", review)
        patch = json.loads(base64.b64decode(mutated["patch"])) if "patch" in mutated else []
        after = jsonpatch.apply_patch(before, patch)
        final = copy.deepcopy(review)
        final["request"]["object"] = after
        final["request"]["uid"] = _other(review["request"]["uid"])
        validated, validate_line = self._server.review("validate", final)
        line = validate_line or mutate_line or {}

        if warnings := [*mutated.get("warnings", ()), *validated.get("warnings", ())]:
            yield "The author is warned:"
            yield from _indented(warnings, "  ")
            yield ""
        if validated["allowed"]:
            yield "ADMITTED, and mended:"
            yield from _indented(self._sentences(line), "  ")
            yield ""
            yield from self._changes(before, after)
        else:
            yield "DENIED. This is what the author sees:"
            yield from _indented(validated["status"]["message"].splitlines(), "  ")
            yield ""
            yield "(In /mutate it was patched like the others; the pod is not created, so that comes to nothing.)"
        yield ""
        yield from self._audited(line)

    def _sentences(self, line: dict[str, Any]) -> Iterator[str]:
        """Yield a sentence for each finding in an audit line, and one for all that are as in the first pod."""
        again: list[str] = []
        for finding in line["findings"]:
            sentence = _SENTENCES.get(finding["rule"], "{rule}: {path}").format_map(finding)
            if _key(finding) in self._findings:
                again.append(sentence.partition(":")[0].lower())
            else:
                yield from _wrapped(f"{sentence} {finding['detail']}.")
        if again:
            yield f"As in 1: {', '.join(again)}."

    def _changes(self, before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
        """Yield the hunks of the diff that weren't shown before."""
        hunks = _hunks(before, after)
        fresh = [hunk for hunk in hunks if _changed(hunk) not in self._hunks]
        as_in_1 = "" if len(fresh) == len(hunks) else ", apart from those as in 1"
        yield f"The lines of the pod's spec that change{as_in_1}:" if fresh else "The lines that change are those in 1."
        for hunk in fresh:
            yield "    ..."
            yield from _indented(map(_coloured, hunk), "  ")
        self._hunks |= self._hunks or {_changed(hunk) for hunk in hunks}

    def _audited(self, line: dict[str, Any]) -> Iterator[str]:
        """Yield an audit line without the patch and without what was told in the first one."""
        told = {key: value for key, value in line.items() if key == "decision" or value != self._line.get(key)}
        told.pop("patch", None)
        told["findings"] = [one for one in line["findings"] if _key(one) not in self._findings]
        if not told["findings"]:
            del told["findings"]  # an empty list would read as if nothing had been found
        yield f"In the audit log (without {'what is as in 1' if self._line else 'the patch'}):"
        yield from _indented(_wrapped(json.dumps(told, ensure_ascii=False)), "  ")
        self._line = self._line or line
        self._findings |= self._findings or {_key(one) for one in line["findings"]}


def policy() -> Iterator[str]:
    """Yield the policy that the pods are judged by."""
    yield "The policy:"
    yield from _indented((_HERE / "policy.yaml").read_text().splitlines(), "   ")


def _hunks(before: dict[str, Any], after: dict[str, Any]) -> list[list[str]]:
    """Return the changed lines of the pod's spec as YAML, in groups, each with the lines beside it."""
    old, new = (yaml.safe_dump(pod["spec"], sort_keys=False).splitlines() for pod in (before, after))
    hunks: list[list[str]] = []
    for line in list(difflib.unified_diff(old, new, n=1, lineterm=""))[2:]:
        if line.startswith("@@"):
            hunks.append([])
        else:
            hunks[-1].append(line)
    return hunks


def _changed(hunk: list[str]) -> tuple[str, ...]:
    return tuple(line for line in hunk if not line.startswith(" "))


def _coloured(line: str) -> str:
    return click.style(line, fg={"+": "green", "-": "red"}[line[0]]) if line[0] in "+-" else line


def _key(finding: dict[str, Any]) -> tuple[str, str]:
    """Return what two findings have in common that say the same of different places."""
    return finding["rule"], finding["detail"]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_on_hyphens=False)


def _other(uid: str) -> str:
    """Return a uid that differs from the first review's, as the API server's second one does."""
    return f"{int(uid[:8], 16) ^ 0xFFFF:08x}{uid[8:]}"


def _indented(lines: Iterable[str], indent: str) -> Iterator[str]:
    return (indent + line if line else "" for line in lines)
