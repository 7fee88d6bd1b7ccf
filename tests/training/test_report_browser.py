"""The report of a run in a real browser: it fits the window, nothing overlaps, everything loads and plays."""

import json

import pytest

from browser import LOOK, NEEDS_BROWSER, Browser, complaints
from fastwave.training import report
from report_runs import sample, start, train, validation, write_log, write_run

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_log(folder / "new", [start()])
    long = start(source="/a-folder-whose-name-has-no-space" * 8, skipped=[["x" * 300 + ".wav", "y" * 300]])
    write_log(folder / ("n" * 200), [{**long, "command": "--set=" + "z" * 400}])
    live = write_run(folder / "live")
    lines = (live / "log.jsonl").read_text().splitlines()[:-1]  # without its end
    primed = {**sample(12_500), "file": "samples/real.wav", "label": "continues the data", "prime": 8000}
    (live / "log.jsonl").write_text("\n".join([*lines, json.dumps(primed), ""]))
    (live / "run.json").write_text(json.dumps({"plan": {"lines": ["Twenty minutes. " * 9, "Four windows a step."]}}))
    write_log(folder / "close", [start(order0_bits=7.97), train(10, 9.0), validation(10, 7.96)])
    runs = {
        "sound": write_run(folder / "plucked strings"),
        "live": live,
        "text": write_run(folder / "letters", sound=False),
        "new": folder / "new",
        "close": folder / "close",
        "long": folder / ("n" * 200),
    }
    return {name: report.write(run) for name, run in runs.items()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["sound", "live", "text", "new", "close", "long"])
def test_a_report_fits_the_window_and_its_sounds_play(browser, pages, tmp_path, name, width, scheme):
    browser.open(pages[name].as_uri(), width, scheme)
    seen = json.loads(browser.evaluate(LOOK))
    browser.shot(tmp_path / f"{name}-{width}-{scheme}.png")
    wanted, wide = seen["scroll"]
    assert wanted <= wide <= width
    assert seen["outside"] == [] and seen["overlaps"] == []
    assert len(seen["images"]) == len(seen["sounds"]) == (6 if name in ("sound", "live") else 0)
    assert all(across > 0 and alt for across, alt in seen["images"])
    for ready, duration, played, label in seen["sounds"]:
        assert ready >= 1 and duration == pytest.approx(3.0, abs=0.01) and played == "played" and label
    assert complaints(browser.events) == []


def test_a_report_requests_nothing_but_itself(browser, pages):
    browser.open(pages["sound"].as_uri(), 1280, "light")
    browser.evaluate(LOOK)
    asked = [event["params"]["request"]["url"] for event in browser.events if is_request(event)]
    assert asked and [url for url in asked if not url.startswith("data:")] == [pages["sound"].as_uri()]


@pytest.fixture
def live(browser, pages):
    """The page of a run that is on, whose timer goes off when `tick()` is called."""
    timer = "window.setInterval = (run, delay) => { window.tick = run; window.delay = delay; return 1; }"
    added = browser.call("Page.addScriptToEvaluateOnNewDocument", source=timer)["identifier"]
    browser.open(pages["live"].as_uri(), 1280, "light")
    yield browser
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added)


def reloads(browser, code="tick()"):
    """Whether the page asks to be loaded again; if so, wait until it is."""
    browser.events.clear()
    browser.evaluate(code)
    # what the page has asked for comes before this answer, or in its place where the page is gone by then
    gone = "error" in browser.ask("Runtime.evaluate", expression="1")
    asked = gone or any(event.get("method") in NAVIGATIONS for event in browser.events)
    while asked and not any(event.get("method") == "Page.loadEventFired" for event in browser.events):
        browser.events.append(browser._next())
    return asked


NAVIGATIONS = ("Page.frameScheduledNavigation", "Page.frameRequestedNavigation", "Page.frameStartedLoading")


def test_the_page_of_a_run_that_is_on_reloads_itself(live):
    assert live.evaluate("delay") == 20_000
    live.evaluate("scrollTo(0, 300)")
    assert reloads(live) and reloads(live)
    assert complaints(live.events) == []


def test_a_sound_that_plays_is_not_interrupted(live):
    live.evaluate("window.sound = document.querySelector('audio'); sound.muted = sound.loop = true; sound.play()")
    assert not reloads(live)
    live.evaluate("sound.pause()")
    assert reloads(live)


def test_what_somebody_has_selected_is_not_taken_away(live):
    live.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
    assert not reloads(live)
    live.evaluate("getSelection().removeAllRanges()")
    assert reloads(live)


def test_a_page_that_has_become_old_says_so_and_reloads_no_more(live):
    live.evaluate("(now => { Date.now = () => now + 31 * 60 * 1000; })(Date.now())")
    assert not reloads(live)
    assert "no longer up to date" in live.evaluate("document.getElementById('quiet').textContent")


def test_a_page_runs_no_script_but_its_own(browser, pages, tmp_path):
    page = tmp_path / "changed.html"
    page.write_text(pages["live"].read_text().replace("</main>", "<script>document.title = 'bad'</script></main>"))
    browser.open(page.as_uri(), 1280, "light")
    assert browser.evaluate("document.title") == "live · fastwave"


def is_request(event):
    return event.get("method") == "Network.requestWillBeSent"


def test_the_browser_checks_notice_a_broken_page(browser, tmp_path):
    """They report an overlap, a box that is too wide, a sound that cannot be played and a script that throws."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!doctype html><body><h1 style='margin:0'>one</h1><h2 style='margin:-40px 0 0'>two</h2>"
        "<p style='width:2000px'>wide</p><audio controls src='data:audio/wav;base64,AAAA'></audio>"
        "<img alt=x src='data:image/png;base64,AAAA'><script>throw Error('no')</script>"
    )
    browser.open(page.as_uri(), 400, "light")
    seen = json.loads(browser.evaluate(LOOK))
    assert seen["overlaps"] == ["H1 one | H2 two"]
    assert seen["scroll"][0] > seen["scroll"][1] and seen["outside"]
    assert seen["images"] == [[0, "x"]]
    assert seen["sounds"][0][2] != "played"
    assert complaints(browser.events)
