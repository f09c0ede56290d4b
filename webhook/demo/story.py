"""The texts of the demo, and how a decision is shown to somebody who has never heard of projected tokens."""

import base64
import difflib
import json
import shlex
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import jsonpatch
import yaml

from webhook.demo.server import Server, running

_Group = tuple[str, ...]
"""The changed lines of a group."""
_HERE = Path(__file__).parent
_WIDTH = 76
"""With the indentation, at most 80 columns."""

_INTRODUCTION = """\
A pod authenticates with a token of its ServiceAccount. There are two kinds:

  legacy token     stored in a Secret; never expires: a stolen copy stays valid
                   until somebody makes it invalid
  projected token  issued for one pod and one audience (for example Vault);
                   expires, and the kubelet renews it

tokenguard is an admission webhook. The API server sends it every new pod
twice: /mutate can patch the pod, /validate can deny it. This demo starts the
webhook on this machine and sends it four pods, as a real API server sent
them."""
_RECORD_KEYS = ("id", "decision", "namespace", "name", "serviceAccount", "user", "policy", "durationMs")
"""Those of an audit record that the demo shows, besides the findings."""
_NEXT_STEPS = """\

The server has stopped. Next steps:

- Check your own manifests; this needs no server:
  $ {program} check FOLDER
- See what the policy would deny in your cluster; this changes nothing:
  $ {program} scan
- Install it: docs/install.md"""

_PODS = (
    (
        "plain",
        "A pod that asks for no token",
        "Kubernetes adds one for the API server. Its 3607 seconds are a special value: it is valid for a year.",
    ),
    (
        "legacy-token",
        "A pod that uses a legacy token",
        'Two containers read the token in Secret "app-token" into an environment variable.',
    ),
    (
        "day-long-token",
        "A pod with a token that is valid for a day",
        "Its author projects a token for AWS: the right kind, but 86400 seconds exceed the policy's maximum of 3600.",
    ),
    (
        "seed",
        "A pod that follows the policy",
        "Its author projects a token for one service, valid for half an hour: no change. The rest is as in pod 1.",
    ),
)


def lines(program: str) -> Iterator[str]:
    """Run the demo and yield its output; changed lines are coloured.

    `program` is the command as the user called it. Raises `DemoError`.
    """
    yield _INTRODUCTION
    with tempfile.TemporaryDirectory(prefix="tokenguard-demo-") as folder, running(Path(folder)) as (server, arguments):
        yield f"\n$ {program} {_command(arguments)}\n"
        yield "The policy:"
        yield from _indented((_HERE / "policy.yaml").read_text().splitlines())
        shown: set[_Group] = set()
        for number, (name, title, about) in enumerate(_PODS, 1):
            yield f"\n{number}. {title} ".ljust(_WIDTH, "-")
            yield from _wrapped(about)
            yield ""
            review = json.loads((_HERE / "reviews" / f"{name}.json").read_bytes())
            yield from _indented(_decision(server, review, shown))
    yield _NEXT_STEPS.format(program=program)


def _command(arguments: Sequence[str]) -> str:
    """Return a command of the shell with each flag on a line of its own."""
    first, *others = (shlex.quote(argument) for argument in arguments)
    return first + "".join(f" \\\n    {text}" if text.startswith("--") else f" {text}" for text in others)


def _decision(server: Server, review: dict[str, Any], shown: set[_Group]) -> Iterator[str]:
    """Send a pod through /mutate and /validate, and yield what happened. Changes that were `shown` are left out."""
    request = review["request"]
    mutated, record = server.review("mutate", review)
    patch = json.loads(base64.b64decode(mutated["patch"])) if "patch" in mutated else []
    patched = jsonpatch.apply_patch(request["object"], patch)
    uid = f"{int(request['uid'][:8], 16) ^ 0xFFFF:08x}{request['uid'][8:]}"  # the API server sends another one, too
    validated, denial = server.review("validate", {**review, "request": {**request, "uid": uid, "object": patched}})
    if denial:
        yield "DENIED. The author sees:"
        yield from _indented(_wrapped(*validated["status"]["message"].splitlines()))
        yield "Recorded in the audit log:"
        yield from _indented(f"{key:<15} {denial[key]}" for key in _RECORD_KEYS)
    elif record:
        yield "PATCHED:"
        for finding in record["findings"]:
            yield from _indented(_wrapped(f"{finding['rule']}: {finding['path']} {finding['detail']}"))
        for warning in mutated.get("warnings", ()):
            yield from ["The author sees this warning:", *_indented(_wrapped(warning))]
        yield from _changes(request["object"], patched, shown)
        yield f'Recorded in the audit log as "patched", with id {record["id"]}.'


def _changes(old: dict[str, Any], new: dict[str, Any], shown: set[_Group]) -> Iterator[str]:
    """Yield the changed lines of the pod's spec as YAML, in groups, each with the lines around it."""
    before, after = (yaml.safe_dump(pod["spec"], sort_keys=False).splitlines() for pod in (old, new))
    groups: list[list[str]] = []
    for line in list(difflib.unified_diff(before, after, n=1, lineterm=""))[2:]:
        if line.startswith("@@"):
            groups.append([])
        else:
            groups[-1].append(line)
    changes = {tuple(line for line in group if line[0] in "+-"): group for group in groups}
    fresh = [group for changed, group in changes.items() if changed not in shown]
    yield "Changes:" if not shown else "Changes, besides those of pod 1:" if fresh else "Changes: those of pod 1."
    for group in fresh:
        yield from _indented(["...", *map(_coloured, group)])
    shown.update(changes)


def _coloured(line: str) -> str:
    return click.style(line, fg={"+": "green", "-": "red"}[line[0]]) if line[0] in "+-" else line


def _wrapped(*texts: str) -> list[str]:
    return [line for text in texts for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False)]


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return ("  " + line if line else "" for line in lines)
