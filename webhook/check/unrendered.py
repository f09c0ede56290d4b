"""Templates that have to be rendered before they can be evaluated: how, and a warning for each chart or folder."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from webhook.check.input_files import InputProblem
from webhook.check.report import TEMPLATES, CheckReport
from webhook.core.formatting import counted
from webhook.core.placeholders import RENDERING, rendering_advice, rendering_command

CHART = "Chart.yaml"
"""The file that makes a folder a Helm chart."""
_SUBCHARTS = "charts"
_MAX_CHARTS = 5
"""How many charts have a warning each."""
_MAX_FOLDERS = 20


def chart_of(path: str) -> str:
    """Return the folder of the chart that a template is rendered with; empty if it is in none."""
    chart: Path | None = None
    for folder in Path(path).parents:
        is_next = chart is None or (chart.parent.name == _SUBCHARTS and chart.parent.parent == folder)
        if is_next and (folder / CHART).is_file():
            chart = folder
    return str(chart or "")


def with_chart(message: str, path: str) -> str:
    """Return a message about a template with the folder of its chart in the command that renders it."""
    if RENDERING in message and (chart := chart_of(path)):
        return message.replace(RENDERING, rendering_command(shlex.quote(chart)))
    return message


def template_warnings(report: CheckReport) -> Iterator[InputProblem]:
    """Yield a warning for each chart, and for each given folder with other templates; one for all charts if many."""
    roots = {file.source.path: file.source.root for file in report.files}
    charts: dict[str, list[InputProblem]] = {}
    folders: dict[str, list[InputProblem]] = {}
    for skipped in report.not_evaluated:
        if skipped.reason == TEMPLATES:
            problem = skipped.problem
            chart = chart_of(problem.path)
            groups, key = (charts, chart) if chart else (folders, roots.get(problem.path, problem.path))
            groups.setdefault(key, []).append(problem)
    if len(charts) > _MAX_CHARTS:
        yield _all_charts(charts)
    else:
        for chart, problems in charts.items():
            what = f"{counted(len(problems), 'template')} of this chart {_not_evaluated(problems)}"
            yield InputProblem(str(Path(chart, CHART)), f"{what}: {_advice(problems)}")
    for root, problems in folders.items():
        first = min(problems, key=lambda problem: (problem.path, problem.line or 0))
        others = f", like {counted(len(problems) - 1, 'other document')} in {root}" if len(problems) > 1 else ""
        message = f"is an unrendered template, which is not evaluated{others}; render it first: {_advice(problems)}"
        yield InputProblem(first.path, message, first.line, first.document)


def _not_evaluated(problems: list[InputProblem]) -> str:
    return "is not evaluated; render it first" if len(problems) == 1 else "are not evaluated; render them first"


def _advice(problems: list[InputProblem]) -> str:
    return rendering_advice(problem.message for problem in problems)


def _all_charts(charts: dict[str, list[InputProblem]]) -> InputProblem:
    first = next(iter(charts))
    templates = counted(sum(map(len, charts.values())), "template")
    what = f"{templates} of this and {counted(len(charts) - 1, 'other chart')} are not evaluated; render them first"
    more = f" and {len(charts) - _MAX_FOLDERS} more, which -v lists" if len(charts) > _MAX_FOLDERS else ""
    listed = f"the charts: {', '.join([*charts][:_MAX_FOLDERS])}{more}"
    return InputProblem(str(Path(first, CHART)), f"{what}: {RENDERING}; {listed}")
