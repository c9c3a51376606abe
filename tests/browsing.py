"""A headless browser, and what can be wrong with a page in it: each check names what it finds."""

import os
import shutil
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOW = (
    f"the report is looked at in a browser, and none of {', '.join(NAMES)} is installed: "
    "`apt-get install chromium`, or what your system has in its place"
)


def found_browser():
    """Return a browser's path; where there is none, skip, or fail where one is required."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None and os.environ.get("APPLE_SEG_BROWSER") == "required":
        pytest.fail(f"APPLE_SEG_BROWSER=required, but {HOW}")
    if path is None:
        pytest.skip(HOW)
    return path


@contextmanager
def browser():
    """Yield a headless browser that reaches nothing but files."""
    from playwright.sync_api import sync_playwright

    path = found_browser()
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=list(SWITCHES))
        try:
            yield running
        finally:
            running.close()


@contextmanager
def opened(running, path, *, width=1280, height=900):
    """Yield a page and the list of what went wrong while it was read: requests and errors."""
    context = running.new_context(viewport={"width": width, "height": height}, offline=True)
    page, wrong = context.new_page(), []
    own = path.as_uri()
    page.on(
        "request",
        lambda one: None if one.url.startswith((own, "data:")) else wrong.append(one.url),
    )
    page.on("console", lambda one: wrong.append(one.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    try:
        page.goto(own)
        yield page, wrong
    finally:
        context.close()


def too_wide(page):
    """Return what sticks out to the right, but for what can be scrolled to."""
    return page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          const out = [...document.body.querySelectorAll('*')].filter(one => {
            const scroll = one.parentElement.closest('.scroll');
            const free = !scroll || getComputedStyle(scroll).overflowX === 'visible';
            return free && one.getBoundingClientRect().right > width + 1;
          }).map(one => one.tagName + ' ' + one.textContent.slice(0, 40));
          if (document.documentElement.scrollWidth > width) out.push('the page scrolls sideways');
          return out;
        }"""
    )


def blind_images(page):
    """Return images that show nothing or say nothing."""
    return page.evaluate(
        """() => [
          ...[...document.images].filter(one => !one.naturalWidth || !one.alt.trim()),
          ...[...document.querySelectorAll('svg.plot')].filter(one => {
            const said = one.parentElement.closest('[role=img]');
            const size = one.getBoundingClientRect();
            const shown = !one.checkVisibility() || (size.width > 50 && size.height > 30);
            return !shown || !said || !/\\d/.test(said.getAttribute('aria-label'));
          }),
        ].map(one => one.outerHTML.slice(0, 120))"""
    )


def faint_text(page):
    """Return words whose contrast with what lies behind them is below 4.5 (WCAG 2.2, 1.4.3)."""
    return page.evaluate(
        """() => {
          const parts = text => (text.match(/[\\d.]+/g) || []).map(Number);
          const light = rgb => rgb.slice(0, 3).map(one => one / 255)
            .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
            .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
          const behind = one => {
            for (; one; one = one.parentElement) {
              const colour = parts(getComputedStyle(one).backgroundColor);
              if (colour.length === 3 || colour[3] > 0.99) return colour;
            }
            return [255, 255, 255];
          };
          const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          for (let node; node = walker.nextNode();) {
            const one = node.parentElement;
            if (!node.data.trim() || !one.checkVisibility()) continue;
            const style = getComputedStyle(one);
            const ink = parts(one.ownerSVGElement ? style.fill : style.color);
            const [low, high] = [light(ink), light(behind(one))].sort((a, b) => a - b);
            const contrast = (high + 0.05) / (low + 0.05);
            if (contrast < 4.5) faint.push(`${contrast.toFixed(1)}: ${node.data.trim()}`);
          }
          return faint;
        }"""
    )


def heading_faults(page):
    """Return headings that skip a level, and more than one at the top."""
    levels = page.evaluate(
        "() => [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(one => +one.tagName[1])"
    )
    faults = [f"{levels.count(1)} at the top"] if levels.count(1) != 1 else []
    pairs = zip([0, *levels], levels, strict=False)
    return faults + [f"{one} to {other}" for one, other in pairs if other > one + 1]


def tabbed(page, limit=400):
    """Press Tab until the page ends; return each stop and whether its focus can be seen."""
    stops = []
    for _ in range(limit):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => {
              const one = document.activeElement;
              if (!one || one === document.body) return null;
              const style = getComputedStyle(one), place = one.getBoundingClientRect();
              const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
              const name = one.getAttribute('href') || one.className || one.tagName;
              return [name, seen && place.right > 0 && place.width > 0];
            }"""
        )
        if stop is None:
            return stops
        stops.append(tuple(stop))
    raise AssertionError(f"no end after {limit} stops: Tab goes round in circles")


def folded(page):
    """Return how many folded parts show none of what they hold."""
    return page.evaluate(
        """() => {
          const seen = one => one.checkVisibility() && one.getBoundingClientRect().height > 20;
          const folds = [...document.querySelectorAll('details')];
          return folds.filter(one => ![...one.querySelectorAll('table')].some(seen)).length;
        }"""
    )
