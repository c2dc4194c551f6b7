"""The pages in headless Chromium: what people do with them, at any width, light and dark."""

from pathlib import Path

import numpy as np
import pytest

from tests.fakes import EchoModel
from tests.server.browser import Browser, why_missing
from tests.server.daemon import on_socket
from tests.server.fake_sessions import BIG, FakeSessionsEngine
from xlstmd.models.forecaster import QuantileForecast

pytestmark = pytest.mark.skipif(bool(why_missing()), reason=why_missing() or "nothing is missing")

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
YEAR = 52

TWO_SERIES = """unique_id,ds,y
a,2026-01-01,1
a,2026-01-02,
a,2026-01-03,3
b,2026-01-01,10
b,2026-01-02,20
b,2026-01-03,30
"""
UNSORTED = "ds,y\n2026-01-02,1\n2026-01-01,2\n2026-01-03,3\n"
FORECAST_IS_SHOWN = """
  return document.querySelector('#chart .mean') && !document.querySelector('#numbers').hidden
    && document.querySelector('#chart-title').textContent
"""
DROP = """
  const transfer = new DataTransfer();
  transfer.items.add(new File([arguments[0]], 'series.csv', {type: 'text/csv'}));
  document.querySelector('#drop').dispatchEvent(
    new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
"""


class SeasonalModel(EchoModel):
    """Repeats the last year in a fan that widens, so that a picture shows something."""

    def forecast(self, histories, horizon, quantile_levels):
        """Continues."""
        steps = np.arange(horizon)
        season = [history[-YEAR:] if len(history) > YEAR else history for history in histories]
        median = np.array([np.nan_to_num(last)[steps % len(last)] for last in season])
        width = 0.1 * (np.ptp(median, axis=1, keepdims=True) + 0.1) * np.sqrt(1.0 + steps / 4.0)
        offsets = 2.0 * (np.array(quantile_levels) - 0.5)
        return QuantileForecast(
            mean=median + 0.1 * width,
            median=median,
            quantiles=median[:, :, None] + width[:, :, None] * offsets,
            quantile_levels=tuple(quantile_levels),
            mean_method="quantile_integral",
        )


@pytest.fixture(scope="module")
def url():
    with on_socket(SeasonalModel("small")) as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def live():
    with on_socket(kind=FakeSessionsEngine) as (port, server):
        yield f"http://127.0.0.1:{port}/live", server._engine.sessions


@pytest.fixture
def browse(tmp_path):
    """Gives a function that opens a page in a browser with a fresh profile."""
    open_browsers = []

    def start(address, **options):
        browser = Browser(tmp_path / f"profile-{len(open_browsers)}", **options)
        browser.__enter__()
        open_browsers.append(browser)
        browser.open(address)
        browser.wait("return document.readyState === 'complete'")
        return browser

    yield start
    for browser in open_browsers:
        browser.__exit__(None, None, None)


def load_example(browser):
    browser.wait("return document.querySelector('#models').options.length")
    browser.click("#example")
    return browser.wait(FORECAST_IS_SHOWN)


def text_of(browser, selector):
    return browser.run("return document.querySelector(arguments[0]).textContent", selector)


def fits_its_width(browser):
    return browser.run("return document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("console-light", {"width": 1440, "height": 1000}),
        ("console-dark", {"width": 1440, "height": 1000, "dark": True}),
        ("console-phone", {"width": 390, "height": 844, "dark": True}),
    ],
)
def test_example_is_forecast(browse, url, name, options):
    browser = browse(url, **options)
    assert load_example(browser) == "us-flu-visits-percent"
    assert text_of(browser, "#model") == "small@1"
    assert browser.run("return document.querySelectorAll('#chart .band').length") == 4
    assert browser.run("return document.querySelectorAll('#rows tr').length") == YEAR
    assert text_of(browser, "#rows tr:first-child td") == "2020-07-07"
    assert fits_its_width(browser)
    background = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(12, 16, 32)") == options.get("dark", False)
    SCREENSHOTS.mkdir(exist_ok=True)
    browser.screenshot(SCREENSHOTS / f"{name}.png")
    assert (SCREENSHOTS / f"{name}.png").stat().st_size > 20_000
    # A refusal by the content security policy or a script error would be here.
    assert browser.messages() == []


def test_held_back_points_are_compared(browse, url):
    browser = browse(url)
    browser.click("#compare")
    load_example(browser)
    assert browser.run("return Boolean(document.querySelector('#chart .actual'))")
    assert text_of(browser, "#rows tr:first-child td") == "2019-07-09"
    browser.click("#compare")
    browser.wait("return !document.querySelector('#chart .actual')")


def test_dropped_file_is_forecast(browse, url):
    browser = browse(url)
    browser.run(DROP, TWO_SERIES)
    browser.wait("return !document.querySelector('#run').disabled")
    assert text_of(browser, "#summary") == "2 series, 6 points"
    browser.run("document.querySelector('#horizon').value = 3")
    browser.click("#run")
    assert browser.wait(FORECAST_IS_SHOWN) == "a"
    browser.run(
        "const s = document.querySelector('#series'); s.value = 1;"
        "s.dispatchEvent(new Event('change'))"
    )
    assert text_of(browser, "#chart-title") == "b"
    assert text_of(browser, "#rows tr:last-child td") == "2026-01-06"


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("1\n2\n\n4\n", "1 series, 4 points"),
        ("ds;north;south\n2026-01-01;1,5;2\n2026-01-02;2,5;3\n", "2 series, 4 points"),
        ("load\tds\n1\t2026-01-01\n2\t2026-01-02\n", "1 series, 2 points"),
    ],
)
def test_tables_of_other_shapes_are_read(browse, url, text, summary):
    browser = browse(url)
    browser.run(DROP, text)
    browser.wait("return !document.querySelector('#run').disabled")
    assert text_of(browser, "#summary") == summary
    browser.click("#run")
    browser.wait(FORECAST_IS_SHOWN)


def test_problem_of_the_daemon_is_shown(browse, url):
    browser = browse(url)
    browser.run(DROP, UNSORTED)
    browser.wait("return !document.querySelector('#run').disabled")
    browser.click("#run")
    browser.wait("return !document.querySelector('#alert').hidden")
    assert text_of(browser, "#alert-title") == "Unprocessable input (422)"
    assert text_of(browser, "#alert-detail").startswith("series[0].timestamps[1]: expected")
    assert text_of(browser, "#alert-more").startswith("out_of_range, request ")


def test_bad_table_is_told_at_once(browse, url):
    browser = browse(url)
    browser.type("#csv", "y\n1\ntwo\n")
    browser.wait("return !document.querySelector('#alert').hidden")
    assert text_of(browser, "#alert-detail") == 'Line 3: expected a number or nothing, got "two".'
    assert browser.run("return document.querySelector('#run').disabled")


def test_api_page_tries_requests(browse, url):
    browser = browse(f"{url}/docs", width=390, height=844)
    browser.wait("return document.querySelectorAll('details').length >= 8")
    assert fits_its_width(browser)
    browser.click("details[open] .primary")
    answer = browser.wait(
        "return [...document.querySelectorAll('pre')].map((part) => part.textContent)"
        ".find((text) => text.startsWith('200'))"
    )
    assert '"small@1"' in answer
    assert browser.messages() == []


def number_in(browser, selector):
    return int(text_of(browser, selector).split()[0].replace(",", "") or 0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("live-light", {"width": 1440, "height": 1000}),
        ("live-phone", {"width": 390, "height": 844, "dark": True}),
    ],
)
def test_stream_is_fed_and_flagged(browse, live, name, options):
    url, sessions = live
    browser = browse(url, **options)
    browser.click("#example")
    browser.wait("return document.querySelectorAll('#chart .band').length === 4")
    before = number_in(browser, "#fact-points")
    moved = f"return Number(document.querySelector('#fact-points').textContent) > {before + 5}"
    browser.wait(moved)
    assert text_of(browser, "#fact-flagged") == "0"
    browser.click("#pause")
    browser.type("#point", f"{2 * BIG}\n")
    browser.wait("return document.querySelectorAll('#chart .flag').length === 1")
    assert text_of(browser, "#fact-flagged") == "1"
    assert fits_its_width(browser)
    browser.screenshot(SCREENSHOTS / f"{name}.png")
    (session,) = sessions.live.values()
    assert session.seq == number_in(browser, "#fact-durable") + 1
    assert browser.messages() == []
    browser.open(url)
    browser.wait("return document.readyState === 'complete'")
    assert sessions.live == {}


def test_problem_of_a_stream_is_shown(browse, live):
    browser = browse(live[0])
    browser.run(
        "document.querySelector('#horizon').value = 0; document.querySelector('#rate').value = 2"
    )
    browser.type("#csv", "1\n2\n3\n")
    browser.wait("return !document.querySelector('#start').disabled")
    browser.click("#start")
    browser.wait("return !document.querySelector('#alert').hidden")
    assert text_of(browser, "#alert-title") == "Unprocessable input (422)"
    assert text_of(browser, "#alert-detail").startswith("anomaly_rate: expected")
