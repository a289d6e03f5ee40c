"""The page in a real browser, Chromium without a screen: nothing fails, nothing leaves, everything
works by keyboard.

Needs Playwright, which `make test-browser` installs, and a Chromium: Debian's package `chromium`,
or ANEW_CHROMIUM with the path of one. Where either is missing these tests are skipped and say so.
"""

import base64
import csv
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from runs import train

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: `make test-browser`"
)
CHROMIUM = (
    os.environ.get("ANEW_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium: install Debian's chromium, or set ANEW_CHROMIUM"
)

HOSTILE = "<script>alert(1)</script>"
AXE = Path(__file__).parent.parent / "vendor" / "axe-core" / "axe.min.js"
QUIET = [
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory, arrays):
    """A real family's page, with a class that is named like a script."""
    folder = tmp_path_factory.mktemp("browser")
    np.savez(
        folder / "data.npz", x=arrays[0], y=arrays[1], classes=np.array([HOSTILE, "b", "c & d"])
    )
    recipe = {
        "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.01},
        "model": {"options": {"width": 4}},
    }
    result = train(f"npz:{folder / 'data.npz'}", folder / "family", recipe=recipe, force=True)
    return result.report(folder / "page.html")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, args=QUIET, chromium_sandbox=os.geteuid() != 0
        )
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, page_file):
    """Open the page as a file; whatever the browser complains about or asks for fails the test."""
    contexts = []

    def open_it(**settings):
        context = browser.new_context(accept_downloads=True, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.complaints, page.asked = [], []
        page.on(
            "console",
            lambda message: page.complaints.append(message.text) if message.type != "log" else None,
        )
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on(
            "dialog",
            lambda dialog: (page.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()),
        )
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(page_file.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()


def open_all(page):
    """Open every section, and what is folded in it."""
    page.get_by_role("button", name="Open all sections").click()
    assert page.locator(".fold:not([open])").count() == 0
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


def draw_all(page):
    """Open the sections and scroll through the page, so that every chart is drawn."""
    open_all(page)
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
        chart.locator(".main-svg").first.wait_for()


def outside(page):
    return [url for url in page.asked if not url.startswith(("file://", "data:", "blob:"))]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_no_complaint_no_request_nothing_wider_than_the_window(opened, page_file, scheme, width):
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 900})
    draw_all(page)
    assert page.complaints == [] and outside(page) == []
    assert [url for url in page.asked if url.startswith("file://")] == [page_file.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for chart in page.locator(".chart").all():
        assert chart.evaluate(
            "one => one.querySelector('.main-svg').clientWidth <= one.clientWidth + 1"
        )


def test_the_page_leads_with_the_answer_and_folds_the_rest(opened):
    page = opened(viewport={"width": 400, "height": 900})
    assert page.locator(".answer").is_visible()
    assert page.locator(".use", has_text="weights.safetensors").is_visible()
    assert page.locator(".use", has_text="anew train --out family").is_visible()
    assert page.locator(".fold[open]").count() == 0
    assert page.evaluate("document.documentElement.scrollHeight") < 4000
    # The contents open what they lead to.
    page.locator("#contents > summary").click()
    page.get_by_role("link", name="Learning curves").click()
    page.locator("#curves .main-svg").first.wait_for()
    assert page.locator(".fold[open]").count() == 1


def test_names_are_text(opened):
    page = opened()
    assert page.locator("h3", has_text=HOSTILE).count() > 0
    assert page.locator("option", has_text=HOSTILE).count() == 1
    draw_all(page)
    assert page.locator("#figure-class-changes .ytick", has_text=HOSTILE).count() == 1
    assert page.locator("script").count() == 3 and page.complaints == []


def test_filters_show_what_they_say(opened):
    page = opened()
    open_all(page)
    cards = page.locator(".card:visible")
    every = page.evaluate("[...document.querySelectorAll('.card')].map(one => ({...one.dataset}))")
    for chosen in ("0", "2"):
        page.select_option("#filter-class", chosen)
        expected = sum(one["class"] == chosen for one in every)
        assert cards.count() == min(24, expected) and page.text_content("#filter-count").endswith(
            f"of {expected} picture{'' if expected == 1 else 's'}"
        )
    page.select_option("#filter-class", "")
    for chosen in ("lost", "lost won", "lost won disagreement", "right"):
        page.select_option("#filter-kind", chosen)
        expected = sum(one["kind"] in chosen.split() for one in every)
        assert cards.count() == min(24, expected)
    page.select_option("#filter-kind", "")
    assert cards.count() == 24
    page.get_by_role("button", name="Show").press("Enter")
    assert cards.count() == 48


def test_every_csv_can_be_saved(opened, tmp_path):
    page = opened()
    links = page.locator("a.csv").all()
    for link in links:
        rows = list(
            csv.reader(
                io.StringIO(base64.b64decode(link.get_attribute("href").split(",")[1]).decode())
            )
        )
        assert len(rows) > 1 and len({len(row) for row in rows}) == 1, link.get_attribute(
            "download"
        )
    # Chromium lets a page save ten files in a row: a chart's, a table's, one in what is folded.
    for link in (links[0], links[1], links[-1]):
        link.evaluate(
            "one => { while ((one = one.parentElement.closest('details'))) one.open = true; }"
        )
        with page.expect_download() as download:
            link.press("Enter")
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert path.suffix == ".csv"
        assert path.read_bytes() == base64.b64decode(link.get_attribute("href").split(",")[1])


def test_the_keyboard_reaches_everything(opened):
    page = opened()
    wanted = page.evaluate(
        """() => {
          const all = [...document.querySelectorAll('a, button, select, summary, [tabindex="0"]')];
          const visible = { contentVisibilityAuto: false };
          const shown = all.filter((one) => one.checkVisibility(visible) && one.offsetParent);
          shown.forEach((one, number) => { one.dataset.number = number; });
          return shown.length;
        }"""
    )
    reached = set()
    for _ in range(wanted + 40):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => {
              const one = document.activeElement;
              const style = getComputedStyle(one);
              const outlined = style.outlineStyle !== 'none' && style.outlineWidth !== '0px';
              return [one.dataset.number ?? null, outlined];
            }"""
        )
        if found[0] is not None:
            reached.add(int(found[0]))
            assert found[1], "what has the focus must show it"
    assert reached == set(range(wanted)) and wanted > 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme):
    page = opened(color_scheme=scheme)
    draw_all(page)
    # All cards, so that there is one of every kind.
    page.evaluate("document.querySelectorAll('.card').forEach((one) => { one.hidden = false; })")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    serious = [
        (one["id"], [node["html"][:150] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_paper_shows_everything_in_light_colors(opened):
    page = opened(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    charts = page.locator(".chart")
    assert charts.evaluate_all("all => all.every((one) => one.querySelector('.main-svg'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("main details[open]").count() == 0
    assert page.complaints == []


def test_without_scripts_the_numbers_are_there(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator(".answer").is_visible() and page.locator(".noscript").is_visible()
    for name in ("ensembles", "gallery"):
        page.locator(f"#{name} > details > summary").click()
    assert (
        page.locator("#ensembles table").first.is_visible()
        and page.locator(".card:visible").count() > 24
    )
    context.close()
