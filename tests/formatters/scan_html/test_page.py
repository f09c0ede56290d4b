"""The page of a scan as it is written, looked at without a browser."""

import base64
import hashlib
import json
import re
from collections import Counter
from importlib.metadata import version

import pytest

from tests.formatters.scan_html.reading import Page, agree
from tests.formatters.scan_html.sample import BACKWARDS, HOSTILE, LONG, SIMULATED, report
from tests.scan.small_cluster import Small, named_secret, secret, spec
from webhook.core.policy.model import Action
from webhook.formatters import scan_json
from webhook.formatters.formatter import FormatOptions
from webhook.formatters.scan_html import page
from webhook.formatters.scan_html.elements import breakable
from webhook.scan.options import ScanFilters


@pytest.fixture(scope="module", params=[None, SIMULATED], ids=["one-policy", "two-policies"])
def scan_report(request):
    return report(request.param)


@pytest.fixture(scope="module")
def text(scan_report):
    return "".join(page.format_report(scan_report))


@pytest.fixture(scope="module")
def parsed_page(text):
    return Page(text)


@pytest.fixture(scope="module")
def as_json(scan_report):
    return json.loads("".join(scan_json.format_report(scan_report)))


def test_page_ids_are_unique_and_references_resolve(parsed_page) -> None:
    ids = Counter(attributes["id"] for _, attributes in parsed_page.elements if "id" in attributes)
    assert set(ids.values()) == {1}
    named = [
        attributes[label]
        for _, attributes in parsed_page.elements
        for label in ("aria-labelledby", "for")
        if label in attributes
    ]
    named += [link["href"].removeprefix("#") for link in parsed_page.all("a")]
    assert len(named) > 20
    assert set(named) <= set(ids)


def test_page_has_landmarks_and_ordered_headings(parsed_page) -> None:
    tags = [tag for tag, _ in parsed_page.elements]
    assert [tags.count(tag) for tag in ("header", "nav", "main", "footer", "h1")] == [1] * 5
    assert [tag for tag in tags if re.fullmatch(r"h\d", tag)] == ["h1"] + ["h2"] * 8
    assert parsed_page.all("html") == [{"lang": "en"}]
    assert parsed_page.all("a")[0]["class"] == "skip"


def test_tables_have_captions_regions_and_scoped_heads(parsed_page) -> None:
    tables = len(parsed_page.tables)
    assert tables >= 11
    assert len(parsed_page.all("caption")) == len(parsed_page.all("table")) == tables
    regions = [element for element in parsed_page.all("div") if element.get("role") == "region"]
    assert len(regions) == tables
    assert all(region["tabindex"] == "0" and region["aria-labelledby"].endswith("-caption") for region in regions)
    assert {cell.get("scope") for cell in parsed_page.all("th")} == {"row", "col"}
    assert all(image["aria-hidden"] == "true" for image in parsed_page.all("svg"))
    for rows in parsed_page.tables.values():
        assert {len(row) for row in rows} == {len(rows[0])}


def test_unevaluated_pods_are_listed_with_owner_and_hint(parsed_page) -> None:
    rows = parsed_page.rows("unevaluated-pods")
    assert [(row["Pod"], row["Admission"]) for row in rows] == [
        (HOSTILE, "not-evaluated"),
        ("early", "before-installation"),
    ]
    assert all(
        row["What to do"].endswith("kubectl rollout restart deployment/NAME -n shop")
        and "token-expiration" in row["Findings"]
        for row in rows
    )


def test_filters_have_labels_and_are_hidden_without_scripts(parsed_page) -> None:
    labels = {label["for"] for label in parsed_page.all("label")}
    fields = {field["id"] for field in (*parsed_page.all("input"), *parsed_page.all("select"))}
    assert labels == fields
    assert len(fields) > 8
    assert all("hidden" in fieldset for fieldset in parsed_page.all("fieldset"))


def test_page_content_security_policy_allows_only_itself(parsed_page, text) -> None:
    policy = parsed_page.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    hashes = []
    for tag in ("style", "script"):
        [inside] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        hashes.append(f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'")
    assert policy["content"].split("; ") == ["default-src 'none'", *hashes, "base-uri 'none'", "form-action 'none'"]
    attributes = {name for _, found in parsed_page.elements for name in found}
    assert not attributes & {"src", "style", "action", "srcset", "ping"}
    assert not [name for name in attributes if name.startswith("on")]
    assert all(link["href"].startswith("#") for link in parsed_page.all("a"))


def test_page_escapes_hostile_names(parsed_page, text) -> None:
    assert text.count("<script") == 1
    assert parsed_page.all("img") == []
    assert [row for row in parsed_page.tables["workloads"] if row[1] == f"Deployment/{HOSTILE}"]
    assert [row for row in parsed_page.tables["exemptions"] if row[-1] == HOSTILE]
    assert [row for row in parsed_page.tables["not-read"] if row[1] == f"HTTP 403: {HOSTILE}"]
    assert "\u202e" not in text
    assert BACKWARDS.replace("\u202e", "\\u202e") in {
        row[1].removeprefix("Pod/") for row in parsed_page.tables["workloads"]
    }
    assert [row for row in parsed_page.tables["workloads"] if row[0] == LONG]


def test_page_agrees_with_the_json(parsed_page, as_json) -> None:
    agree(parsed_page, as_json)


def test_equal_column_is_in_the_caption_instead() -> None:
    small = Small(secret("a"), secret("b", last_used="2026-06-01"), secret("c", invalid_since="2026-06-01"))
    parsed_page = Page("".join(page.format_report(small.scan())))
    assert parsed_page.tables["secrets"][0] == ["Secret", "Last used", "State"]
    assert parsed_page.shared["secrets"] == {
        "Namespace": "shop", "Account": "app", "Permissions": "no permissions", "Created": "2026-01-01",
        "References": "none", "If recreated": "—",
    }  # fmt: skip


def test_table_of_one_row_has_all_columns() -> None:
    parsed_page = Page("".join(page.format_report(Small(secret("a")).scan())))
    assert parsed_page.tables["secrets"][0][:3] == ["Namespace", "Secret", "Account"]
    assert parsed_page.shared["secrets"] == {}


def test_page_header_names_cluster_context_and_version(parsed_page) -> None:
    header = parsed_page.texts[: parsed_page.texts.index("Summary")]
    assert {"cluster", "context", "staging", "version"} <= set(header)
    assert f"tokenguard {version('tokenguard-webhook')}" in header


def test_last_use_chart_counts_secrets(parsed_page) -> None:
    columns = ("All", "referenced", "safe to delete", "other")
    by_use = {row["Last used"]: [row[column] for column in columns] for row in parsed_page.rows("last-use")}
    assert by_use == {
        "in the last 7 days": ["2", "1", "0", "1"],
        "8 to 30 days ago": ["0", "0", "0", "0"],
        "31 to 90 days ago": ["0", "0", "0", "0"],
        "over 90 days ago": ["1", "1", "0", "0"],
        "no use recorded": ["3", "1", "2", "0"],
        "unknown": ["0", "0", "0", "0"],
    }


def test_bars_have_the_width_of_their_numbers(text) -> None:
    [table] = re.findall(r'id="lifetimes".*?</table>', text, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", table)[1:]
    numbers = [list(map(int, re.findall(r'data-v="(\d+)"', row))) for row in rows]
    most = max(map(max, numbers))
    for row, counts in zip(rows, numbers, strict=True):
        widths = [float(match) for match in re.findall(r' width="([\d.]+)"', row)]
        assert widths == [round(100 * count / most, 2) for count in counts if count]


def test_page_links_to_the_checklist_of_each_namespace() -> None:
    small = Small(secret("old"), secret("new")).deployment("web", spec(container=named_secret("old")))
    options = FormatOptions(checklists="https://git.example.com/migration/")
    found = Page("".join(page.format_report(small.scan(), options)))
    links = [link["href"] for link in found.all("a") if not link["href"].startswith("#")]
    assert links == ["https://git.example.com/migration/shop/README.md"]  # in the caption, as it is in every row
    assert [row["What to change"] for row in found.rows("secrets")] == ["checklist of shop"] * 2


def test_page_of_an_empty_cluster_says_so() -> None:
    small = Small()
    parsed_page = Page("".join(page.format_report(small.scan())))
    assert "Nothing would be denied if recreated under this policy." in parsed_page.texts
    assert set(parsed_page.tables) == {"outcomes"}
    assert {"No findings.", "No pod has a token.", "The policy has no exemptions."} <= set(parsed_page.texts)


def test_page_counts_valid_secrets_and_says_to_disable_first() -> None:
    small = Small(secret("a"), secret("b"), secret("c", invalid_since="2026-06-01"))
    found = "".join(page.format_report(small.scan()))
    assert " 2 legacy Secrets with a valid token that never expires." in found
    assert found.index("First disable it") < found.index("Then delete it")
    assert "that never expires." not in "".join(
        page.format_report(Small(secret("a", invalid_since="2026-06-01")).scan())
    )


def test_page_with_filters_shows_them_and_all_denials() -> None:
    small = Small(secret("old")).pod("a", spec(container=named_secret("old")))
    only = ScanFilters(("sh*",), ("token-audience",), (Action.WARN,))
    parsed_page = Page("".join(page.format_report(small.scan(filters=only))))
    scope = "Showing only namespace sh*. Showing only rule token-audience; action warn."
    denied = (
        "1 of 1 pods, 1 of 1 workloads would be denied if recreated under this policy."
        " 1 legacy Secret with a valid token that never expires."
    )
    assert {f"{denied} {scope}", "No findings match the filters."} <= set(parsed_page.texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("crm.example.com-token", ["crm.", "example.", "com-token"]),
        ("spec.containers[0].env[1]", ["spec.", "containers", "[0].", "env", "[1]"]),
        ("//iam.example.com/projects/1/pools", ["//iam.", "example.", "com/", "projects/", "1/", "pools"]),
        ("pr-1000-preview in a/b (2 pods)", ["pr-", "1000-preview in a/", "b (2 pods)"]),
        ("<b>&a.b", ["&lt;b&gt;&amp;a.", "b"]),
        ("none since 2025-01-15, 10.0.0.1:6443", ["none since 2025-01-15, 10.0.0.1:6443"]),
        ("x" * 50, ["x" * 24, "x" * 24, "xx"]),
    ],
)
def test_text_is_breakable_in_names_but_not_in_words(text, expected) -> None:
    assert breakable(text).split("<wbr>") == expected
