"""The golden cases in `tests/cases`: test cases of policies, as a user writes them (docs/policy.md)."""

import datetime as dt
from pathlib import Path
from typing import Any

from webhook.check.case_documents import case_documents
from webhook.check.input_files import InputProblem
from webhook.check.policy_case import PolicyCase, build_case
from webhook.check.policy_tests import PolicyFiles
from webhook.core.policy.errors import ErrorCollector
from webhook.core.policy.loader import default_policy

CASES = Path(__file__).parent / "cases"
NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)


def load() -> list[tuple[str, dict[str, Any]]]:
    """Return the document of each case, with the name of its file."""
    return [
        (path.stem, case[1])
        for path in sorted(CASES.glob("*.yaml"))
        for case in case_documents(str(path), path.read_text())
        if not isinstance(case, InputProblem)
    ]


LOADED = load()
_FILES = PolicyFiles()


def golden_case(document: dict[str, Any]) -> PolicyCase:
    errors = ErrorCollector(lambda _: (0, 0))
    document = {"case": "", "object": {}, "request": {"namespace": "demo"}, **document}
    case = build_case(document, _FILES.reader(str(CASES / "x.yaml")), default_policy(), NOW, errors)
    assert case, errors.sorted()
    return case


def the_object(document: dict[str, Any]) -> dict[str, Any]:
    return golden_case(document).object
