"""The checkout, its project file and its pages, for the tests that compare them with the code."""

import re
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
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
