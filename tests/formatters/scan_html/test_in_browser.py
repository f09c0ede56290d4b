"""The page of a scan in a real browser."""

import json

import pytest

from tests.formatters.scan_html.browser import FOUND, HINT, browser
from tests.formatters.scan_html.sample import LONG, PODS, SIMULATED, report
from webhook.formatters.scan_html import page

pytestmark = pytest.mark.skipif(FOUND is None, reason=HINT)
WIDE, NARROW = 1280, 375
WORKLOADS = PODS + 5
NAMES = """
[...document.querySelectorAll("#workloads tbody tr")]
  .filter((row) => row.offsetHeight)
  .map((row) => row.cells[1].textContent)
"""
OUTPUT = "document.querySelector('#workloads output').textContent"
FAINT = """
(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((one) => one / 255)
    .map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = numbers(getComputedStyle(element).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const hasText = (element) => [...element.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
  const faint = new Set();
  let looked = 0;
  for (const element of document.querySelectorAll("body *")) {
    if (element.tagName === "rect") {
      looked += 1;
      const found = ratio(numbers(getComputedStyle(element).fill), behind(element.parentElement));
      if (found < 3) faint.add(`rect.${element.getAttribute("class")} ${found}`);
    } else if (element.offsetHeight && hasText(element)) {
      looked += 1;
      const found = ratio(numbers(getComputedStyle(element).color), behind(element));
      if (found < 4.5) faint.add(`${element.tagName}.${element.className} ${found}`);
    }
  }
  return [looked, [...faint]];
})()
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return written(tmp_path_factory, None)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return written(tmp_path_factory, SIMULATED)


def written(factory, policy):
    file = factory.mktemp("page") / "scan.html"
    file.write_text("".join(page.format_report(report(policy))))
    return file


def complaints(browser):
    """Return what the browser's console says, and every request but for the page itself."""
    told = [event for event in browser.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
    asked = [
        event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"
    ]
    return told, [url for url in asked if not url.startswith("file:")]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_page_fits_its_window_with_enough_contrast(shown, simulated, width, dark) -> None:
    shown.open(simulated, width, dark=dark)
    assert shown.value("document.documentElement.scrollWidth") <= width
    assert shown.value("Math.min(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g)) < 128") is dark
    looked, faint = shown.value(FAINT)
    assert faint == []
    assert looked > 500


def test_page_with_hostile_names_sends_no_request(shown, plain, simulated) -> None:
    for file in (plain, simulated):
        shown.open(file)
        shown.value("new Promise((done) => setTimeout(done, 200))")
        assert complaints(shown) == ([], [])
        assert shown.value("document.title").startswith("Tokens in https://api")


def test_page_with_injected_script_blocks_it(shown, plain, tmp_path) -> None:
    forged = tmp_path / "forged.html"
    taken = "document.title = 'taken'"
    taken = f"<script>{taken}</script><img src='https://evil.example/x' onerror=\"{taken}\">"
    forged.write_text(plain.read_text().replace("<h2", f"{taken}<h2", 1))
    shown.open(forged)
    shown.value("new Promise((done) => setTimeout(done, 200))")
    told, _ = complaints(shown)
    assert len(told) >= 2
    assert all("Content Security Policy" in json.dumps(message) for message in told)
    assert shown.value("document.title") != "taken"


def tab_to(browser, what):
    """Press Tab until the focus is on what a selector names."""
    for _ in range(120):
        browser.press("Tab")
        if browser.value(f"document.activeElement.matches({json.dumps(what)})"):
            return
    raise AssertionError(f"Tab never leads to {what}")


def test_table_is_sorted_by_keyboard(shown, plain) -> None:
    shown.open(plain)
    tab_to(shown, "#namespaces thead th:nth-child(3) button")
    assert shown.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    counts = "[...document.querySelectorAll('#namespaces tbody tr')].map((row) => Number(row.cells[2].textContent))"
    before = shown.value(counts)
    shown.press("Enter")
    assert shown.value(counts) == sorted(before, reverse=True) != before
    assert shown.value("document.activeElement.parentElement.getAttribute('aria-sort')") == "descending"
    shown.press("Enter")
    assert shown.value(counts) == sorted(before)
    assert shown.value("document.activeElement.parentElement.getAttribute('aria-sort')") == "ascending"
    shown.press("Tab")
    shown.press("Enter")
    assert shown.value("document.querySelectorAll('#namespaces [aria-sort]').length") == 1


def test_table_sorts_numbers_in_names(shown, plain) -> None:
    shown.open(plain)
    shown.value("document.querySelector('#workloads .more').click()")
    shown.value("document.querySelectorAll('#workloads th button')[1].click()")
    names = [name for name in shown.value(NAMES) if name.startswith("Pod/pod-")]
    assert names == [f"Pod/pod-{number}" for number in range(PODS)]


def test_page_first_tab_stop_skips_navigation(shown, plain) -> None:
    shown.open(plain)
    shown.press("Tab")
    assert shown.value("document.activeElement.getBoundingClientRect().left") >= 0
    shown.press("Enter")
    assert shown.value("document.activeElement.id") == "content"


def test_table_filters_select_rows(shown, simulated) -> None:
    shown.open(simulated)
    assert len(shown.value(NAMES)) == 100
    assert shown.value(OUTPUT) == f"{WORKLOADS} of {WORKLOADS} rows, the first 100 shown"
    tab_to(shown, "#workloads-search")
    shown.type("POD-12")
    assert set(shown.value(NAMES)) == {f"Pod/pod-{number}" for number in (12, *range(120, 130))}
    choose(shown, "workloads-namespace", "team-1")
    assert set(shown.value(NAMES)) == {"Pod/pod-120", "Pod/pod-127"}
    assert shown.value(OUTPUT) == f"2 of {WORKLOADS} rows"
    tab_to(shown, "#workloads .reset")
    shown.press("Enter")
    choose(shown, "workloads-rule", "legacy-token-reference")
    choose(shown, "workloads-action", "reject")
    choose(shown, "workloads-outcome", "denied")
    assert sorted(name.partition("/")[0] for name in shown.value(NAMES)) == ["Deployment", "Deployment"]
    tab_to(shown, "#workloads .reset")
    shown.press("Enter")
    choose(shown, "workloads-change", "newly patched")
    changed = sum(workload.change == "newly patched" for workload in report(SIMULATED).workloads)
    assert WORKLOADS > changed > 100
    assert shown.value(OUTPUT) == f"{changed} of {WORKLOADS} rows, the first 100 shown"


def choose(browser, field, value):
    browser.value(f"""(() => {{
        const field = document.getElementById("{field}");
        field.value = "{value}";
        field.dispatchEvent(new Event("change"));
    }})()""")


def test_long_table_is_shown_in_full_on_request(shown, plain) -> None:
    shown.open(plain)
    tab_to(shown, "#workloads + *, #workloads .more")
    shown.press("Enter")
    assert len(shown.value(NAMES)) == WORKLOADS
    assert shown.value("document.activeElement.matches('#workloads .region')")


def test_page_without_scripts_is_complete(shown, plain) -> None:
    shown.open(plain, scripts=False)
    shown.do("Emulation.setScriptExecutionDisabled", value=False)
    assert shown.value("document.querySelectorAll('main button:not(fieldset *)').length") == 0
    assert len(shown.value(NAMES)) == WORKLOADS
    everything = "[...document.querySelectorAll('main *')].filter((one) => !one.closest('fieldset'))"
    assert shown.value(f"{everything}.every((one) => one.checkVisibility())")
    assert shown.value("[...document.querySelectorAll('fieldset')].every((one) => !one.offsetHeight)")


def test_page_in_print_shows_every_row_and_no_controls(shown, plain) -> None:
    shown.open(plain, dark=True)
    shown.media("print", dark=True)
    assert len(shown.value(NAMES)) == WORKLOADS
    assert shown.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert shown.value(
        "[...document.querySelectorAll('input, select, nav, .reset, .more')].every((one) => !one.offsetHeight)"
    )
    assert (
        shown.value(
            "Math.max(...[...document.querySelectorAll('.region')].map((one) => one.scrollHeight - one.clientHeight))"
        )
        <= 1
    )
    assert shown.pdf().startswith(b"%PDF")


def test_wide_table_scrolls_by_keyboard(shown, simulated) -> None:
    shown.open(simulated, NARROW)
    tab_to(shown, "#workloads .region")
    assert shown.value("document.activeElement.scrollWidth > document.activeElement.clientWidth")
    shown.press("ArrowRight")
    scrolled = "new Promise((done) => setTimeout(() => done(document.activeElement.scrollLeft > 0), 300))"
    assert shown.value(scrolled)


def test_long_name_wraps(shown, plain) -> None:
    shown.open(plain, NARROW)
    [width] = shown.value(
        "[...document.querySelectorAll('#namespaces tbody th')]"
        f".filter((one) => one.textContent === {json.dumps(LONG)}).map((one) => one.offsetWidth)"
    )
    assert width < NARROW
