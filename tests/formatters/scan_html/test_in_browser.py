"""The page of a scan in a real browser."""

import json

import pytest

from tests.formatters.scan_html.browser import FOUND, HINT, browser
from tests.formatters.scan_html.sample import LONG, PODS, SIMULATED, report, varied_secrets
from tests.serving import eventually
from webhook.formatters.formatter import FormatOptions
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

TOO_WIDE = """
[...document.querySelectorAll("body *:not(.skip)")]
  .filter((element) => element.offsetHeight)
  .filter((element) => element.getBoundingClientRect().right > innerWidth || element.scrollWidth > innerWidth)
  .map((element) => `${element.tagName}.${element.className}`)
"""
NARROW_BARS = """
[...document.querySelectorAll(".bars svg")]
  .filter((bar) => bar.querySelector("rect") && bar.getBoundingClientRect().width < 0.8 * innerWidth)
  .map((bar) => bar.outerHTML)
"""
BROKEN_DATES = """
[...document.querySelectorAll("td")]
  .flatMap((cell) => [...cell.childNodes])
  .filter((node) => node.nodeType === 3 && /^\\d{4}-\\d\\d-\\d\\d$/.test(node.data))
  .filter((node) => {
    const range = document.createRange();
    range.selectNode(node);
    return range.getClientRects().length > 1;
  })
  .map((node) => node.data)
"""
CUT_TABLES = """
[...document.querySelectorAll(".region")]
  .filter((region) => region.offsetHeight && region.scrollWidth > region.clientWidth)
  .map((region) => `${region.parentElement.id}: ${region.scrollWidth} > ${region.clientWidth}`)
"""
BROKEN_WORDS = """
(() => {
  const range = document.createRange();
  const broken = [];
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  for (let node; (node = texts.nextNode());) {
    if (!node.parentElement.closest("td, th")?.offsetHeight) continue;
    for (const { 0: word, index } of node.data.matchAll(/\\w+/g)) {
      range.setStart(node, index);
      range.setEnd(node, index + word.length);
      if (new Set([...range.getClientRects()].map((line) => Math.round(line.top))).size > 1) broken.push(word);
    }
  }
  return broken;
})()
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def plain_page(tmp_path_factory):
    return written(tmp_path_factory, None)


@pytest.fixture(scope="module")
def simulated_page(tmp_path_factory):
    return written(tmp_path_factory, SIMULATED)


def written(factory, policy):
    file = factory.mktemp("page") / "scan.html"
    file.write_text("".join(page.format_report(report(policy))))
    return file


def complaints(browser):
    """Return what the browser's console says, and every request but for the page itself."""
    messages = [event for event in browser.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
    urls = [
        event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"
    ]
    return messages, [url for url in urls if not url.startswith("file:")]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_page_fits_its_window_with_enough_contrast(chromium, simulated_page, width, dark) -> None:
    chromium.open(simulated_page, width, dark=dark)
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.value("Math.min(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g)) < 128") is dark
    looked, faint = chromium.value(FAINT)
    assert faint == []
    assert looked > 500


@pytest.mark.parametrize("width", [400, 700, 959])
def test_page_in_a_narrow_window_has_nothing_wider(chromium, plain_page, simulated_page, width) -> None:
    for file in (plain_page, simulated_page):
        chromium.open(file, width)
        assert chromium.value(TOO_WIDE) == []
        assert chromium.value(NARROW_BARS) == []
        assert chromium.value("document.querySelectorAll('rect').length") > 20
        assert chromium.value(BROKEN_DATES) == []


@pytest.mark.parametrize("width", [1400, 1280])
def test_tables_fit_their_frames_without_breaking_words(chromium, plain_page, simulated_page, width) -> None:
    for file in (plain_page, simulated_page):
        chromium.open(file, width)
        assert chromium.value(CUT_TABLES) == []
        assert chromium.value(BROKEN_WORDS) == []
        assert chromium.value(BROKEN_DATES) == []


@pytest.mark.parametrize("columns", [9, 11])
def test_table_of_secrets_fits_any_window(chromium, tmp_path, columns) -> None:
    options = FormatOptions(checklists="migration" if columns == 11 else "")
    file = tmp_path / "scan.html"
    file.write_text("".join(page.format_report(varied_secrets(SIMULATED if columns == 11 else None), options)))
    displays = []
    for width in (400, 959, 1000, 1100, 1180, 1250, 1280, 1400):
        chromium.open(file, width)
        assert chromium.value("document.querySelectorAll('#secrets thead th').length") == columns
        assert chromium.value(CUT_TABLES) == []
        assert chromium.value("document.documentElement.scrollWidth") <= width
        displays.append(chromium.value("getComputedStyle(document.querySelector('#secrets tbody tr')).display"))
    assert displays[-1] == "table-row"
    assert chromium.value(BROKEN_WORDS) == []


def test_page_with_hostile_names_sends_no_request(chromium, plain_page, simulated_page) -> None:
    for file in (plain_page, simulated_page):
        chromium.open(file)
        chromium.value("new Promise((done) => setTimeout(done, 200))")
        assert complaints(chromium) == ([], [])
        assert chromium.value("document.title").startswith("Tokens in https://api")


def test_page_with_injected_script_blocks_it(chromium, plain_page, tmp_path) -> None:
    forged = tmp_path / "forged.html"
    taken = "document.title = 'taken'"
    taken = f"<script>{taken}</script><img src='https://evil.example/x' onerror=\"{taken}\">"
    forged.write_text(plain_page.read_text().replace("<h2", f"{taken}<h2", 1))
    chromium.open(forged)
    chromium.value("new Promise((done) => setTimeout(done, 200))")
    messages, _ = complaints(chromium)
    assert len(messages) >= 2
    assert all("Content Security Policy" in json.dumps(message) for message in messages)
    assert chromium.value("document.title") != "taken"


def tab_to(browser, what):
    """Press Tab until the focus is on what a selector names."""
    for _ in range(120):
        browser.press("Tab")
        if browser.value(f"document.activeElement.matches({json.dumps(what)})"):
            return
    raise AssertionError(f"Tab never leads to {what}")


def test_table_is_sorted_by_keyboard(chromium, plain_page) -> None:
    chromium.open(plain_page)
    tab_to(chromium, "#namespaces thead th:nth-child(3) button")
    assert chromium.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    counts = "[...document.querySelectorAll('#namespaces tbody tr')].map((row) => Number(row.cells[2].textContent))"
    before = chromium.value(counts)
    chromium.press("Enter")
    assert chromium.value(counts) == sorted(before, reverse=True) != before
    assert chromium.value("document.activeElement.parentElement.getAttribute('aria-sort')") == "descending"
    chromium.press("Enter")
    assert chromium.value(counts) == sorted(before)
    assert chromium.value("document.activeElement.parentElement.getAttribute('aria-sort')") == "ascending"
    chromium.press("Tab")
    chromium.press("Enter")
    assert chromium.value("document.querySelectorAll('#namespaces [aria-sort]').length") == 1


def test_table_sorts_numbers_in_names(chromium, plain_page) -> None:
    chromium.open(plain_page)
    chromium.value("document.querySelector('#workloads .more').click()")
    chromium.value("document.querySelectorAll('#workloads th button')[1].click()")
    names = [name for name in chromium.value(NAMES) if name.startswith("Pod/pod-")]
    assert names == [f"Pod/pod-{number}" for number in range(PODS)]


def test_page_first_tab_stop_skips_navigation(chromium, plain_page) -> None:
    chromium.open(plain_page)
    chromium.press("Tab")
    assert chromium.value("document.activeElement.getBoundingClientRect().left") >= 0
    chromium.press("Enter")
    assert chromium.value("document.activeElement.id") == "content"


def test_table_filters_select_rows(chromium, simulated_page) -> None:
    chromium.open(simulated_page)
    assert len(chromium.value(NAMES)) == 100
    assert chromium.value(OUTPUT) == f"{WORKLOADS} of {WORKLOADS} rows, the first 100 shown"
    tab_to(chromium, "#workloads-search")
    chromium.type("POD-12")
    assert set(chromium.value(NAMES)) == {f"Pod/pod-{number}" for number in (12, *range(120, 130))}
    choose(chromium, "workloads-namespace", "team-1")
    assert set(chromium.value(NAMES)) == {"Pod/pod-120", "Pod/pod-127"}
    assert chromium.value(OUTPUT) == f"2 of {WORKLOADS} rows"
    tab_to(chromium, "#workloads .reset")
    chromium.press("Enter")
    choose(chromium, "workloads-rule", "legacy-token-reference")
    choose(chromium, "workloads-action", "reject")
    choose(chromium, "workloads-outcome", "denied")
    assert sorted(name.partition("/")[0] for name in chromium.value(NAMES)) == ["Deployment", "Deployment"]
    tab_to(chromium, "#workloads .reset")
    chromium.press("Enter")
    choose(chromium, "workloads-change", "newly patched")
    changed = sum(workload.change == "newly patched" for workload in report(SIMULATED).workloads)
    assert WORKLOADS > changed > 100
    assert chromium.value(OUTPUT) == f"{changed} of {WORKLOADS} rows, the first 100 shown"


def choose(browser, field, value):
    browser.value(f"""(() => {{
        const field = document.getElementById("{field}");
        field.value = "{value}";
        field.dispatchEvent(new Event("change"));
    }})()""")


def test_long_table_is_shown_in_full_on_request(chromium, plain_page) -> None:
    chromium.open(plain_page)
    tab_to(chromium, "#workloads + *, #workloads .more")
    chromium.press("Enter")
    assert len(chromium.value(NAMES)) == WORKLOADS
    assert chromium.value("document.activeElement.matches('#workloads .region')")


def test_page_without_scripts_is_complete(chromium, plain_page) -> None:
    chromium.open(plain_page, scripts=False)
    chromium.do("Emulation.setScriptExecutionDisabled", value=False)
    assert chromium.value("document.querySelectorAll('main button:not(fieldset *)').length") == 0
    assert len(chromium.value(NAMES)) == WORKLOADS
    everything = "[...document.querySelectorAll('main *')].filter((one) => !one.closest('fieldset'))"
    assert chromium.value(f"{everything}.every((one) => one.checkVisibility())")
    assert chromium.value("[...document.querySelectorAll('fieldset')].every((one) => !one.offsetHeight)")


def test_page_in_print_shows_every_row_and_no_controls(chromium, plain_page) -> None:
    chromium.open(plain_page, dark=True)
    chromium.media("print", dark=True)
    assert len(chromium.value(NAMES)) == WORKLOADS
    assert chromium.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.value(
        "[...document.querySelectorAll('input, select, nav, .reset, .more')].every((one) => !one.offsetHeight)"
    )
    assert (
        chromium.value(
            "Math.max(...[...document.querySelectorAll('.region')].map((one) => one.scrollHeight - one.clientHeight))"
        )
        <= 1
    )
    assert chromium.pdf().startswith(b"%PDF")


def test_long_table_scrolls_by_keyboard(chromium, simulated_page) -> None:
    chromium.open(simulated_page)
    tab_to(chromium, "#workloads .region")
    assert chromium.value("document.activeElement.scrollHeight > document.activeElement.clientHeight")
    # pressed again, as a browser without time to draw drops a key
    eventually(lambda: chromium.press("ArrowDown") or chromium.value("document.activeElement.scrollTop > 0"))


def test_long_name_wraps(chromium, plain_page) -> None:
    chromium.open(plain_page, NARROW)
    [width] = chromium.value(
        "[...document.querySelectorAll('#namespaces tbody th')]"
        f".filter((one) => one.textContent === {json.dumps(LONG)}).map((one) => one.offsetWidth)"
    )
    assert width < NARROW
