"""What the demo tells, and how it shows an answer to somebody who has never heard of projected tokens."""

import base64
import copy
import difflib
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def tell(server: Server) -> Iterator[str]:
    """Send each pod through /mutate and /validate and yield what happened, line by line."""
    for number, (name, title, about) in enumerate(PODS, 1):
        review = json.loads((_HERE / "reviews" / f"{name}.json").read_bytes())
        yield ""
        yield f"{number}. {title} ".ljust(_WIDTH, "-")
        yield from textwrap.wrap(about, _WIDTH)
        yield from _sent(server, review)


def _sent(server: Server, review: dict[str, Any]) -> Iterator[str]:
    before = review["request"]["object"]
    mutated, mutate_line = server.review("mutate", review)
    patch = json.loads(base64.b64decode(mutated["patch"])) if "patch" in mutated else []
    after = jsonpatch.apply_patch(before, patch)
    final = copy.deepcopy(review)
    final["request"]["object"] = after
    final["request"]["uid"] = _other(review["request"]["uid"])
    validated, validate_line = server.review("validate", final)

    yield ""
    warnings = [*mutated.get("warnings", ()), *validated.get("warnings", ())]
    if warnings:
        yield "   The author is warned:"
        yield from _indented(warnings, "     ")
        yield ""
    if not validated["allowed"]:
        yield "   DENIED. This is what the author sees:"
        yield from _indented(validated["status"]["message"].splitlines(), "     ")
        yield ""
        yield "   (In /mutate it was patched like the others; the pod is not created, so that comes to nothing.)"
    else:
        yield "   ADMITTED, and mended. The patch, as the lines of the pod's spec that change:"
        yield from _indented(_diff(before, after), "     ")
    yield ""
    yield "   In the audit log:"
    line = validate_line or mutate_line
    if line:
        short = json.dumps(_short(line), ensure_ascii=False)
        yield from _indented(textwrap.wrap(short, _WIDTH, break_on_hyphens=False), "     ")


def _diff(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield the changed lines of the pod's spec as YAML, each with the lines that say where it belongs."""
    old, new = (yaml.safe_dump(pod["spec"], sort_keys=False).splitlines() for pod in (before, after))
    for line in difflib.unified_diff(old, new, n=1, lineterm=""):
        if not line.startswith(("---", "+++")):
            yield "  ..." if line.startswith("@@") else line


def _short(line: dict[str, Any]) -> dict[str, Any]:
    """Return an audit line without the patch, which was shown already."""
    return {key: value for key, value in line.items() if key != "patch"}


def _other(uid: str) -> str:
    """Return a uid that differs from the first review's, as the API server's second one does."""
    return f"{int(uid[:8], 16) ^ 0xFFFF:08x}{uid[8:]}"


def _indented(lines: Iterator[str] | list[str], indent: str) -> Iterator[str]:
    return (indent + line for line in lines)
