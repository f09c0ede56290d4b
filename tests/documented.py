"""What pages say, for the tests that hold it against the code: of metrics, of alerts, and of tests."""

import ast
import re
from functools import cache
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).parent.parent
PAGES = {
    str(file.relative_to(CHECKOUT)): file.read_text()
    for pattern in ("*.md", "docs/*.md", "certs/*.md", "manifests/*.md")
    for file in sorted(CHECKOUT.glob(pattern))
}
"""The text of every page of the documentation."""
PAGE = PAGES["docs/metrics.md"]


def page_rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    return table_below(PAGE, heading)


def table_below(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading in a page."""
    table = re.search(r"\n((?:\|.*\n)+)", text.split(f"{heading}\n", 1)[1])[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


METRICS = {row[0].strip("`"): tuple(re.findall(r"`(\w+)`", row[2])) for row in page_rows("## The metrics")}
"""tokenguard's metrics, each with its labels."""
API_SERVERS = {row[0].strip("`") for row in page_rows("### The API server's metrics")}
"""Those of the API server that are used."""


@cache
def there_are(file: str) -> set[str]:
    """Return the tests in a file: of a module its functions, of a file of golden cases their titles."""
    text = (CHECKOUT / file).read_text()
    if file.endswith(".yaml"):
        return {case["case"] for case in yaml.safe_load_all(text) if case}
    return {
        one.name for one in ast.parse(text).body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")
    }


def is_there(named: str) -> bool:
    """Say whether there is a test that a page names as `file::test`, or as `file: title of a golden case`."""
    file, name = re.fullmatch(r"(tests/\S+?\.(?:py|yaml))(?:::|: )(.+)", named).groups()
    return name in there_are(file)
