"""The page in a real browser: sorted, filtered, opened, dark, quiet, and quick with 300 norms."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bnconvert.reporting.page.page import page_of
from bnconvert.reporting.records import Contents, Finding, NormRow, StatisticsRow

pytestmark = pytest.mark.slow
NORMS = tuple(
    NormRow(f"layer{i}.bn", "BatchNorm2d", (7 * i) % 300, 1, ("folded", "standing")[i % 2], "why")
    for i in range(300)
)
OFF = tuple(
    StatisticsRow(row.path, "BatchNorm2d", 8, 64, i / 100, 0.1, 0.01, 8, "precise")
    for i, row in enumerate(NORMS)
)
REPORT = Contents(
    "Net: batch normalization",
    norms=NORMS,
    statistics=OFF,
    findings=(Finding("BN202", "error", ("layer1.bn",), "the fact", "words", "bnc.do(model)"),),
    scores={"loss": {"running": 2.0, "batch": 0.5, "precise": 0.25}},
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Open the page; in the end nothing was asked of a server, and nothing complained."""
    path = tmp_path / "report.html"
    path.write_text(page_of(REPORT), encoding="utf-8")
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(path.as_uri())
    yield opened
    opened.close()
    assert said == []
    assert asked == [path.as_uri()]


def column(page: Any, number: int) -> list[str]:
    """Return the cells of a column of the first table that are shown."""
    return page.evaluate(  # type: ignore[no-any-return]
        """(number) => [...document.querySelector("table").tBodies[0].rows]
            .filter((row) => !row.hidden).map((row) => row.cells[number].textContent)""",
        number,
    )


def test_a_closed_table_opens_and_closes(page: Any) -> None:
    table = page.locator("table").first
    assert not table.is_visible()
    page.locator("section > details > summary").first.click()
    assert table.is_visible()
    page.locator("section > details > summary").first.click()
    assert not table.is_visible()


def test_columns_sort_by_size_and_back(page: Any) -> None:
    page.locator("section > details > summary").first.click()
    heads = page.locator("table").first.locator("th")
    heads.nth(1).locator("button").click()
    assert column(page, 1) == sorted(column(page, 1), key=int)
    assert heads.nth(1).get_attribute("aria-sort") == "ascending"
    heads.nth(1).locator("button").click()
    assert column(page, 1) == sorted(column(page, 1), key=int, reverse=True)
    heads.nth(0).locator("button").click()
    assert column(page, 0) == [f"layer{i}.bn" for i in range(300)]  # 10 after 9
    assert heads.nth(1).get_attribute("aria-sort") == "none"


def test_rows_are_filtered_by_all_words(page: Any) -> None:
    page.locator("section > details > summary").first.click()
    page.locator("details > input").first.fill("layer11 standing")
    expected = [n.path for n in NORMS if "layer11" in n.path and n.outcome == "standing"]
    assert column(page, 0) == expected
    page.locator("details > input").first.fill("")
    assert len(column(page, 0)) == 300


def test_it_is_light_or_dark_as_the_browser_is_and_a_button_changes_it(page: Any) -> None:
    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = background()
    page.emulate_media(color_scheme="dark")
    page.locator("html.dark").wait_for()  # `wait_for_function` needs eval, which the page forbids
    assert background() != light
    page.locator("#theme").click()
    assert background() == light


def test_on_a_phone_every_cell_says_its_column_and_rows_are_sorted_too(page: Any) -> None:
    page.set_viewport_size({"width": 400, "height": 900})
    page.locator("section > details > summary").first.click()
    said = page.evaluate(
        "getComputedStyle(document.querySelector('td:nth-child(2)'), '::before').content"
    )
    assert "channels" in said
    page.locator("table").first.locator("th").nth(1).locator("button").click()
    assert column(page, 1) == sorted(column(page, 1), key=int)


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_three_hundred_norms_open_in_a_second(page: Any) -> None:
    timing = page.evaluate("performance.getEntriesByType('navigation')[0].domComplete")
    assert timing < 5000  # milliseconds: five times as long as on a quiet machine it may take
    assert page.locator("svg.strip rect").count() == 300


def test_printing_opens_all_tables_and_what_findings_mean(page: Any) -> None:
    meaning = page.locator("details.meaning")
    assert not meaning.locator("p").first.is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert all(page.evaluate("[...document.querySelectorAll('details')].map((d) => d.open)"))
    assert meaning.locator("p").first.is_visible()
