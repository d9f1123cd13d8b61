"""The page in a browser: it sorts, searches, opens concepts, needs no network, and shows texts as texts."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from classifsae.reporting.page.page import page as render
from sample_report import LABELS, SCRIPT, sample_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium on this machine")

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 800}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(render(sample_report()), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """The page, and all that it said and asked for."""

    def __init__(self, browser: "sync_api.Browser", address: str, **options: object) -> None:
        self.page = browser.new_page(**{"viewport": WIDE, **options})
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def shown(self, column: int) -> list[str]:
        """The texts of one column of the list of concepts, of the rows that are visible."""
        cells = self.page.locator(f"section.method:visible tbody tr[data-key]:visible > :nth-child({column})")
        return [text.strip() for text in cells.all_inner_texts()]

    def is_at(self, name: str) -> None:
        """Wait until the keyboard's focus is there; from outside, as the page allows no evaluated strings."""
        sync_api.expect(self.page.locator(f"[id='{name}']")).to_be_focused(timeout=20_000)

    def panels(self) -> list[str]:
        """Ids of the concepts that are open."""
        return [str(panel.get_attribute("id")) for panel in self.page.locator(".panel:visible").all()]


@pytest.fixture
def opened(browser: "sync_api.Browser", address: str) -> Iterator[Opened]:
    opened = Opened(browser, address)
    yield opened
    assert opened.said == []
    assert opened.requests == [address]
    opened.page.close()


def numbers(texts: list[str]) -> list[float]:
    return [float(text) for text in texts if text != "\N{EN DASH}"]


def test_the_list_sorts_both_ways_and_keeps_missing_values_last(opened: Opened):
    head = opened.page.locator("section.method:visible .concepts thead th").nth(2)
    for direction, backwards in (("descending", True), ("ascending", False)):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == direction
        assert numbers(opened.shown(3)) == sorted(numbers(opened.shown(3)), reverse=backwards)
    assert opened.page.locator("section.method:visible [aria-sort]").count() == 1
    opened.page.locator("section.method:visible .concepts thead button").nth(3).click()
    assert opened.shown(4)[-1] == "\N{EN DASH}"
    opened.page.locator("section.method:visible .concepts thead button").nth(0).click()
    first_words = [name.partition(",")[0] for name in opened.shown(1)]
    assert first_words == sorted(first_words)


def test_the_list_is_searched_by_name_word_and_class(opened: Opened):
    search = opened.page.get_by_label("Search").locator("visible=true")
    for wanted, n in (("ORBIT WORD 19", 2), ("sci/tech", 5), ("no such thing", 0)):
        search.fill(wanted)
        assert len(opened.shown(1)) == n
        assert opened.page.locator("section.method:visible .found").inner_text() == f"{n} of 20 concepts"
    search.fill("")
    assert len(opened.shown(1)) == 20


def test_a_number_is_looked_for_as_a_whole(opened: Opened):
    search = opened.page.get_by_label("Search").locator("visible=true")
    for latent in ("28", "58"):  # many scores have these digits
        search.fill(latent)
        (row,) = opened.shown(1)
        assert latent in row.split()


def test_an_address_that_names_no_concept_says_so(browser: "sync_api.Browser", address: str):
    for wrong in ("sae-999", "%E0%A4%A"):
        opened = Opened(browser, f"{address}#{wrong}")
        assert f"This page has no \u201c{wrong}\u201d" in opened.page.get_by_role("alert").inner_text()
        opened.page.locator("nav a").first.click()
        sync_api.expect(opened.page.locator("#lost")).to_be_hidden()
        assert opened.said == []
        opened.page.close()


def test_a_click_opens_a_concept_and_the_address_names_it(opened: Opened):
    opened.page.locator("tr[data-key='classifsae-13'] td").first.click()
    opened.is_at("classifsae-13")
    assert opened.page.url.endswith("#classifsae-13")
    assert opened.panels() == ["classifsae-13"]


def test_the_keyboard_alone_opens_a_concept_in_the_list_and_on_the_map(opened: Opened):
    opened.page.locator("tr[data-key='classifsae-22'] a").focus()
    opened.page.keyboard.press("Enter")
    opened.is_at("classifsae-22")
    opened.page.locator("section.method:visible .map a[href='#classifsae-31']").focus()
    assert opened.page.locator(".map a:focus .name").is_visible()
    opened.page.keyboard.press("Enter")
    opened.is_at("classifsae-31")
    assert opened.panels() == ["classifsae-31"]


def test_the_first_key_skips_to_the_content(opened: Opened):
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.className") == "skip"
    opened.page.keyboard.press("Enter")
    assert opened.page.evaluate("document.activeElement.id") == "main"


def test_one_method_is_shown_at_a_time(opened: Opened):
    opened.page.get_by_role("button", name="ica").click()
    assert opened.page.locator("section.method:visible").get_attribute("data-method") == "ica"
    behind = opened.page.locator("ul.behind:visible")
    assert {one.get_attribute("data-method") for one in behind.all()} == {"ica"}
    opened.page.locator("ul.behind:visible a").first.click()
    assert opened.panels()[0].startswith("ica-")


def test_a_deep_link_opens_its_method_and_concept(browser: "sync_api.Browser", address: str):
    opened = Opened(browser, f"{address}#sae-k20-7")
    assert opened.panels() == ["sae-k20-7"]
    assert opened.said == []


def test_texts_with_markup_are_shown_as_they_are(opened: Opened):
    assert opened.page.title().startswith("Concepts of minilm")
    text = opened.page.locator(".panel:visible .examples p").nth(3).inner_text()
    assert text == SCRIPT
    assert opened.page.locator(".class-card h2").all_inner_texts() == list(LABELS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_and_the_button(
    browser: "sync_api.Browser", address: str, scheme: str
):
    opened = Opened(browser, address, color_scheme=scheme)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark, light = "rgb(20, 23, 28)", "rgb(255, 255, 255)"
    here, there = (dark, light) if scheme == "dark" else (light, dark)
    assert opened.page.evaluate(paper) == here
    opened.page.locator("#theme").click()
    assert opened.page.evaluate(paper) == there


def test_a_phone_shows_it_without_scrolling_sideways(browser: "sync_api.Browser", address: str):
    opened = Opened(browser, address, viewport=NARROW)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    opened.page.locator("tr[data-key='classifsae-13'] a").click()
    opened.is_at("classifsae-13")
    assert opened.page.locator("#classifsae-13 .back").is_visible()


def test_on_a_phone_a_concept_opens_where_it_was_tapped(browser: "sync_api.Browser", address: str):
    opened = Opened(browser, address, viewport=NARROW)
    for key in ("classifsae-13", "classifsae-22", "classifsae-13"):  # one below the other, and back
        row = opened.page.locator(f"tr[data-key='{key}']")
        row.scroll_into_view_if_needed()
        before = row.bounding_box()["y"]
        row.locator("a").click()
        opened.is_at(key)
        opened.page.wait_for_timeout(100)
        assert row.bounding_box()["y"] == pytest.approx(before, abs=2)
        panel = opened.page.locator(f"#{key}").bounding_box()
        assert panel["y"] == pytest.approx(before + row.bounding_box()["height"], abs=4)
        assert panel["x"] >= 0
        assert panel["x"] + panel["width"] <= NARROW["width"]
        assert opened.panels() == [key]
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    assert len(opened.shown(1)) == 20
    assert opened.said == []
    opened.page.close()


def test_an_opened_concept_stays_below_its_row_when_the_list_is_sorted_searched_or_widened(
    browser: "sync_api.Browser", address: str
):
    opened = Opened(browser, f"{address}#classifsae-13", viewport=NARROW)
    below = opened.page.locator("tr[data-key='classifsae-13'] + tr.opened #classifsae-13")
    assert below.is_visible()
    opened.page.locator("section.method:visible .concepts thead button").nth(0).click()
    assert below.is_visible()
    opened.page.get_by_label("Search").locator("visible=true").fill("no such thing")
    assert not below.is_visible()
    opened.page.get_by_label("Search").locator("visible=true").fill("")
    opened.page.set_viewport_size(WIDE)
    sync_api.expect(opened.page.locator(".panels > #classifsae-13")).to_be_visible()
    assert opened.page.locator("tr.opened").count() == 0
    assert opened.said == []
    opened.page.close()


def test_long_names_of_classes_push_nothing_off_a_phone(browser: "sync_api.Browser", tmp_path: Path):
    names = tuple(f"{'x' * 60} class of a very long name about topic {i}" for i in range(4))
    (tmp_path / "index.html").write_text(
        render(replace(sample_report(), label_names=names)), encoding="utf-8"
    )
    opened = Opened(browser, (tmp_path / "index.html").as_uri(), viewport=NARROW)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    assert opened.page.evaluate("document.querySelector('.top').offsetHeight") < 120
    assert opened.page.locator(f".panel:visible [title='{names[0]}']").count() > 0
    opened.page.close()


def test_it_is_whole_without_scripts(browser: "sync_api.Browser", address: str):
    opened = Opened(browser, address, java_script_enabled=False)
    assert len(opened.panels()) == 100
    assert not opened.page.locator("input[type=search]").first.is_visible()


def test_the_file_is_under_six_megabytes_and_open_when_it_is_loaded(
    browser: "sync_api.Browser", address: str
):
    opened = Opened(browser, address)
    assert opened.page.evaluate("performance.getEntriesByType('navigation')[0].decodedBodySize") < 6_000_000
    assert len(opened.panels()) == 1, "the scripts have run"
    opened.page.close()
