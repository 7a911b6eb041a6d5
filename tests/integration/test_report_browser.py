# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of a report in a real browser: they ask for nothing, fit, can be read, used with keys, and printed."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_html import pages
from ansible_collections.changeops.rollback.tests.unit.plugins.plugin_utils import report_sample as sample
from ansible_collections.changeops.rollback.tests.unit.plugins.plugin_utils.test_report_html import MARKUP, poisoned
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, Route, sync_playwright

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1200, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 320, "height": 640}, "is_mobile": True, "has_touch": True},
}
PAGES = ("index.html", "C001.html", "C003.html")


@pytest.fixture(scope="module")
def browser() -> t.Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"There is no browser here (apt-get install {BROWSERS[0]}), so no page can be looked at.")
    with sync_playwright() as playwright:
        # without a sandbox, as the tests run as root: it sees none but these pages
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pages of the sample, and of one whose every text is markup too."""
    root = tmp_path_factory.mktemp("reports")
    views = sample.all_views()
    for name, text in pages(views, views).items():
        (root / name).write_text(text)
    (root / "C001.md").write_text("# C001\n")
    evil, _put = poisoned(sample.view(), ("runs", "change"))
    (root / "evil").mkdir()
    evil["fault"] = ""
    for name, text in pages([evil], [evil]).items():
        (root / "evil" / name).write_text(text)
    return root


class Opened:
    """A page, and what it did beyond showing itself."""

    def __init__(self, browser: Browser, path: Path, look: str = "light") -> None:
        self.asked: list[str] = []
        self.said: list[str] = []
        self.refused: list[str | None] = []
        self._context = browser.new_context(**LOOKS[look])
        self._context.route("**/*", self._ask)
        self.page: Page = self._context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.on("request", self._note)
        self.page.on("requestfailed", lambda request: self.refused.append(request.failure))
        self.page.goto(path.as_uri())
        self.url = self.page.url

    def _note(self, request: Request) -> None:
        if not request.is_navigation_request():
            self.asked.append(request.url)

    def _ask(self, route: Route) -> None:
        if route.request.is_navigation_request() and route.request.url.startswith("file:"):
            route.continue_()
        else:
            route.abort()

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_error: object) -> None:
        self._context.close()


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_for_nothing_fits_and_is_accessible(browser: Browser, reports: Path, name: str, look: str) -> None:
    with Opened(browser, reports / name, look) as opened:
        page = opened.page
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page does not scroll sideways"
        page.evaluate(f"scrollTo(0, {page.evaluate('document.body.scrollHeight')})")
        found = Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
        [red, green, blue] = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (red + green + blue < 200) == (look == "dark")
        assert opened.asked == []
        assert opened.said == []
        assert page.url == opened.url


def test_what_a_page_would_fetch_is_stopped(browser: Browser, reports: Path) -> None:
    """The page's own policy is what keeps it from the network, not only that nothing in it asks."""
    text = (reports / "index.html").read_text()
    inserted = "<img src=other.png><script>document.title = 'ran'</script><style>@import 'other.css';</style></main>"
    (reports / "changed.html").write_text(text.replace("</main>", inserted))
    with Opened(browser, reports / "changed.html") as opened:
        assert opened.page.title() == "Rollback plans"
        assert [Path(url).name for url in opened.asked] == ["other.png", "other.css"], "it is seen"
        assert opened.refused == ["csp", "csp"]
        assert sum("Content Security Policy" in line for line in opened.said) == 3


@pytest.mark.parametrize("name", ["index.html", "C001.html"])
def test_html_in_every_field_is_shown_as_text(browser: Browser, reports: Path, name: str) -> None:
    with Opened(browser, reports / "evil" / name) as opened:
        page = opened.page
        assert page.evaluate("document.querySelectorAll('b, script, img, [onmouseover]').length") == 0
        seen = page.evaluate("document.body.textContent")
        assert seen.count(MARKUP.partition("(")[0]) > {"index.html": 5, "C001.html": 300}[name]
        for word in page.locator("h1, tbody th").all()[:10]:
            word.hover()
        assert opened.said == []
        assert opened.asked == []


def test_everything_is_reached_with_the_tab_key(browser: Browser, reports: Path) -> None:
    with Opened(browser, reports / "C001.html") as opened:
        page = opened.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.evaluate("document.activeElement.getBoundingClientRect().left >= 0"), (
            "it is seen once it is reached"
        )
        wanted = page.evaluate(
            "[...document.querySelectorAll('a, summary, [tabindex]')].map(one => one.outerHTML.slice(0, 60))"
        )
        reached = []
        for _element in wanted:
            reached.append(page.evaluate("document.activeElement.outerHTML.slice(0, 60)"))
            assert page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2, reached[-1]
            page.keyboard.press("Tab")
        reached = [one for one in reached if not one.startswith("<body")]  # behind the last one
        hidden = [one for one in wanted if one not in reached]
        assert reached == [one for one in wanted if one in reached]
        assert len(hidden) <= 1, "only what is folded is passed over"
        page.goto(opened.url)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.url.endswith("#main")
        page.get_by_role("link", name="All changes").click()
        page.get_by_role("link", name="C001").click()
        assert page.get_by_role("heading", level=1).inner_text() == "C001: Add invoice totals"


def test_a_chart_says_in_words_what_it_shows(browser: Browser, reports: Path) -> None:
    with Opened(browser, reports / "C001.html") as opened:
        page = opened.page
        images = page.get_by_role("img")
        assert images.count() == 2
        assert "A service was down for 2 min 12 s." in page.locator("svg.timeline desc").text_content()
        [shade] = page.locator("svg.timeline rect.down").all()
        stops = [
            block for block in page.locator("svg.timeline .bar.main").all() if "2 service_stop" in block.text_content()
        ]
        starts = [
            block for block in page.locator("svg.timeline .bar.main").all() if "6 service_start" in block.text_content()
        ]
        assert len(stops) == len(starts) == 3
        edge = shade.bounding_box()
        assert edge["x"] == pytest.approx(min(block.bounding_box()["x"] for block in stops), abs=3)
        right = max(block.bounding_box()["x"] + block.bounding_box()["width"] for block in starts)
        assert edge["x"] + edge["width"] == pytest.approx(right, abs=3)


def test_a_page_can_be_printed(browser: Browser, reports: Path) -> None:
    with Opened(browser, reports / "C001.html", "dark") as opened:
        page = opened.page
        printed = page.pdf(prefer_css_page_size=True)
        assert printed.startswith(b"%PDF-")
        assert 3 <= printed.count(b"/Type /Page\n") <= 12
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 690, "height": 980})  # A4 between its margins
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.locator("nav").is_hidden()
        assert page.locator("details table").is_visible(), "what is folded is printed"
        boxes = "[...document.querySelectorAll('.box')]"
        cut = page.evaluate(f"{boxes}.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.ariaLabel)")
        assert cut == [], "paper does not scroll"
