"""The report in a browser: what a reader, a keyboard and a printer get to see.

Every check is shown to find what is wrong, on the same page with one thing spoilt.
"""

import re

import pytest

from apple_seg.audit.report import audit_html
from browsing import (
    blind_images,
    browser,
    faint_text,
    folded,
    found_browser,
    heading_faults,
    opened,
    tabbed,
    too_wide,
)
from reports import rich_audit, rich_comparison, site_survey

A4 = 695
"""CSS pixels of a page's width less its margins."""


@pytest.fixture(scope="module")
def running():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def texts():
    return {
        "comparison": audit_html(rich_comparison(), sites=site_survey()),
        "audit": audit_html(rich_audit()),
    }


@pytest.fixture
def reports(texts, tmp_path):
    """Return the paths of a comparison's page and of an audit's."""
    paths = [tmp_path / f"{name}.html" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


@pytest.fixture
def spoilt(texts, tmp_path):
    """Return a way to write the comparison's page with something at the end of its body."""

    def write(more, without=""):
        path = tmp_path / "spoilt.html"
        text = texts["comparison"]
        assert without in text
        text = text.replace(without, "") if without else text
        path.write_text(text.replace("</main>", f"{more}</main>"), encoding="utf-8")
        return path

    return write


UNFOLD = "document.querySelectorAll('details').forEach(one => one.open = true)"
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def test_it_asks_for_nothing_and_reports_no_error(running, reports, spoilt):
    for report in reports:
        with opened(running, report) as (page, wrong):
            page.mouse.wheel(0, 20_000)
            page.wait_for_load_state("networkidle")
        assert wrong == []
    outside = '<img src="http://reports.invalid/x.png" alt="x">'
    policy = POLICY.search(reports[0].read_text(encoding="utf-8")).group()
    with opened(running, spoilt(outside, without=policy)) as (page, wrong):
        page.wait_for_load_state("networkidle")
    assert "http://reports.invalid/x.png" in wrong
    # With its own policy the page cannot even ask, and no script runs in it.
    script = "<script>document.title = 'ran'</script>"
    with opened(running, spoilt(outside + script)) as (page, wrong):
        page.wait_for_load_state("networkidle")
        assert page.title() != "ran"
    assert any("Content Security Policy" in one for one in wrong)


def test_it_fits_whatever_the_width_with_everything_unfolded(running, reports, spoilt):
    for report in reports:
        with opened(running, report) as (page, _):
            page.evaluate(UNFOLD)
            for width in (360, 800, 1280):
                page.set_viewport_size({"width": width, "height": 900})
                assert too_wide(page) == [], width
    with opened(running, spoilt('<div style="width: 2000px">wide</div>')) as (page, _):
        assert "DIV wide" in too_wide(page)


def test_the_first_screen_holds_the_verdicts_and_the_figures_that_decided(running, reports):
    for report in reports:
        with opened(running, report) as (page, _):
            for selector in (".answer .verdict", ".facts .value"):
                boxes = [one.bounding_box() for one in page.query_selector_all(selector)]
                assert len(boxes) >= 1
                assert all(box["y"] + box["height"] <= 900 for box in boxes), selector
            assert page.locator("table").first.bounding_box()["y"] > 900  # what is not there


def test_pictures_and_drawings_show_something_and_say_it_in_words(running, reports, spoilt):
    for report in reports:
        with opened(running, report) as (page, _):
            assert page.evaluate("document.images.length") > 0
            assert blind_images(page) == []
    broken = '<img src="data:image/png;base64,AAAA" alt="x"><svg class="plot"></svg>'
    with opened(running, spoilt(broken)) as (page, _):
        assert len(blind_images(page)) == 2


def test_words_stand_out_from_what_is_behind_them(running, reports, spoilt):
    for report in reports:
        with opened(running, report) as (page, _):
            page.evaluate(UNFOLD)
            assert faint_text(page) == []
    pale = '<p style="color: #8a8a8a">pale</p><svg><text style="fill: #8a8a8a">drawn</text></svg>'
    with opened(running, spoilt(pale)) as (page, _):
        assert [one.split(": ")[1] for one in faint_text(page)] == ["pale", "drawn"]


def test_headings_form_a_tree(running, reports, spoilt):
    for report in reports:
        with opened(running, report) as (page, _):
            assert heading_faults(page) == []
            assert page.evaluate("document.documentElement.lang") == "en"
    with opened(running, spoilt("<h1>second</h1><h4>deep</h4>")) as (page, _):
        assert heading_faults(page) == ["2 at the top", "1 to 4"]


def test_the_keyboard_reaches_everything_and_its_place_is_seen(running, reports, spoilt):
    for report in reports:
        with opened(running, report, width=500) as (page, _):
            page.evaluate(UNFOLD)
            stops = tabbed(page)
            names = [name for name, _ in stops]
            assert names[0] == "#answer"
            links = page.evaluate("[...document.links].map(one => one.getAttribute('href'))")
            assert set(links) <= set(names)
            for kind, selector in (("SUMMARY", "summary"), ("scroll", ".scroll")):
                assert names.count(kind) == page.evaluate(
                    f"document.querySelectorAll('{selector}').length"
                )
                assert names.count(kind) > 0
            assert [name for name, seen in stops if not seen] == []
    hidden = "<style>:focus-visible { outline: none !important; }</style>"
    with opened(running, spoilt(hidden)) as (page, _):
        assert not any(seen for _, seen in tabbed(page))


def test_folds_open_by_key_and_the_skip_link_leads_to_the_answer(running, reports):
    for report in reports:
        with opened(running, report) as (page, _):
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            assert page.evaluate("location.hash") == "#answer"
            summary = page.locator("summary").first
            summary.focus()
            page.keyboard.press("Enter")
            assert page.evaluate("document.querySelector('details').open")
            page.keyboard.press("Enter")
            assert not page.evaluate("document.querySelector('details').open")


def test_print_unfolds_everything_and_cuts_nothing(running, reports, spoilt):
    for report in reports:
        with opened(running, report, width=A4) as (page, _):
            count = page.evaluate("document.querySelectorAll('details').length")
            assert folded(page) == count > 0
            page.emulate_media(media="print")
            assert folded(page) == 0
            assert too_wide(page) == []
            assert faint_text(page) == []
    closed = "<details><summary>x</summary><p>no table</p></details>"
    wide = '<div style="width: 900px">wide</div>'
    with opened(running, spoilt(closed + wide), width=A4) as (page, _):
        page.emulate_media(media="print")
        assert folded(page) == 1
        assert "DIV wide" in too_wide(page)


def test_a_pdf_of_it_holds_its_words_on_numbered_pages(running, reports):
    for report in reports:
        with opened(running, report) as (page, _):
            content = page.pdf(prefer_css_page_size=True)
            page.evaluate("document.querySelectorAll('details').forEach(one => one.remove())")
            shorter = page.pdf(prefer_css_page_size=True)
        assert content.startswith(b"%PDF")
        pages, fewer = (len(re.findall(rb"/Type\s*/Page\b", one)) for one in (content, shorter))
        assert pages > fewer > 1
        assert re.search(rb"/MediaBox\s*\[0 0 59[45]\.?\d* 84[12]", content)  # A4


def test_without_a_browser_a_developer_is_told_how_and_a_build_fails(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("APPLE_SEG_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        found_browser()
    monkeypatch.setenv("APPLE_SEG_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        found_browser()
