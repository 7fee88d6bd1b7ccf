"""The report of a run in a real browser: it fits the window, nothing overlaps, everything loads and plays.

Chromium is driven over its own pipe: messages of JSON, each ended by a zero byte, on its descriptors 3 and 4.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import sys
import time

import pytest

from fastwave.training import report
from report_runs import sample, start, train, validation, write_log, write_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium here: install it (apt-get install chromium) to test pages"
    ),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the browser is driven over pipes as on Linux"),
]
PATIENCE = 60  # seconds for one answer; a loaded machine needs several to start a browser

LOOK = """(async () => {
  const seen = { overlaps: [], outside: [], sounds: [], images: [], names: [] };
  const wide = document.documentElement.clientWidth;
  seen.scroll = [document.documentElement.scrollWidth, wide];
  const shown = element => { const r = element.getBoundingClientRect(); return r.width && r.height ? r : null; };
  const blocks = [...document.querySelectorAll(
    'h1, h2, h3, p, pre, table, figure, audio, .plot, .legend, .axes text, td, th, section, header')];
  const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  for (const [i, one] of blocks.entries()) {
    const r = shown(one);
    if (!r) { if (one.textContent.trim()) seen.outside.push('invisible: ' + one.textContent.slice(0, 40)); continue; }
    if (r.left < -0.5 || r.right > wide + 0.5) seen.outside.push(one.tagName + ': ' + one.textContent.slice(0, 40));
    if (one instanceof HTMLElement && one.scrollWidth > one.clientWidth + 1)
      seen.outside.push('wider than its box: ' + one.tagName);
    for (const other of blocks.slice(i + 1)) {
      const s = shown(other);
      if (s && !one.contains(other) && !other.contains(one) && meet(r, s))
        seen.overlaps.push([one, other].map(e => e.tagName + ' ' + e.textContent.trim().slice(0, 30)).join(' | '));
    }
  }
  for (const sound of document.querySelectorAll('audio')) {
    for (let i = 0; i < 200 && sound.readyState < 1 && !sound.error; i++)
      await new Promise(done => setTimeout(done, 20));
    sound.muted = true;
    const played = await sound.play().then(() => 'played', error => String(error));
    sound.pause();
    seen.sounds.push([sound.readyState, sound.duration, played, sound.ariaLabel]);
  }
  for (const image of document.images) seen.images.push([image.naturalWidth, image.alt]);
  return JSON.stringify(seen);
})()"""


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, folder):
        # descriptors above 4, so that neither is overwritten by the other on its way to 3 and 4
        theirs_in, self.to = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe())
        self.back, theirs_out = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe())
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"]
        flags += ["--no-first-run", "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]
        actions = [(os.POSIX_SPAWN_DUP2, theirs_in, 3), (os.POSIX_SPAWN_DUP2, theirs_out, 4)]
        actions += [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
        home = {**os.environ, "HOME": str(folder)}
        self.pid = os.posix_spawn(CHROMIUM, [CHROMIUM, *flags], home, file_actions=actions, setpgroup=0)
        os.close(theirs_in)
        os.close(theirs_out)
        self.sent, self.unread, self.session, self.events = 0, b"", None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def ask(self, method, **params):
        """Send a command -> its answer, an error too; events that come before it are kept."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.sent:
            self.events.append(answer)
        return answer

    def call(self, method, **params):
        """Send a command that must succeed -> its result."""
        answer = self.ask(method, **params)
        assert "result" in answer, answer
        return answer["result"]

    def _next(self):
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self.unread:
            ready, _, _ = select.select([self.back], [], [], max(0, deadline - time.monotonic()))
            part = os.read(self.back, 1 << 20) if ready else b""
            assert part, "the browser has closed or does not answer"
            self.unread += part
        line, _, self.unread = self.unread.partition(b"\0")
        return json.loads(line)

    def open(self, path, width, scheme):
        """Load a page and wait until it has."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def evaluate(self, code):
        """The value of an expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def shot(self, path):
        """The whole page as a PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self):
        """Ask it to end, and end what has not."""
        self.session = None
        self.call("Browser.close")
        os.close(self.to)
        os.close(self.back)
        deadline = time.monotonic() + 10
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
            select.select([], [], [], 0.05)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no chromium here")
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
    browser.open(pages[name], width, scheme)
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
    browser.open(pages["sound"], 1280, "light")
    browser.evaluate(LOOK)
    asked = [event["params"]["request"]["url"] for event in browser.events if is_request(event)]
    assert asked and [url for url in asked if not url.startswith("data:")] == [pages["sound"].as_uri()]


@pytest.fixture
def live(browser, pages):
    """The page of a run that is on, whose timer goes off when `tick()` is called."""
    timer = "window.setInterval = (run, delay) => { window.tick = run; window.delay = delay; return 1; }"
    added = browser.call("Page.addScriptToEvaluateOnNewDocument", source=timer)["identifier"]
    browser.open(pages["live"], 1280, "light")
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
    browser.open(page, 1280, "light")
    assert browser.evaluate("document.title") == "live · fastwave"


def is_request(event):
    return event.get("method") == "Network.requestWillBeSent"


def complaints(events):
    """Errors and warnings of the console, and what was thrown."""
    loud = [event for event in events if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]
    return loud + [event for event in events if event.get("method") == "Runtime.consoleAPICalled"]


def test_the_browser_checks_notice_a_broken_page(browser, tmp_path):
    """They report an overlap, a box that is too wide, a sound that cannot be played and a script that throws."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!doctype html><body><h1 style='margin:0'>one</h1><h2 style='margin:-40px 0 0'>two</h2>"
        "<p style='width:2000px'>wide</p><audio controls src='data:audio/wav;base64,AAAA'></audio>"
        "<img alt=x src='data:image/png;base64,AAAA'><script>throw Error('no')</script>"
    )
    browser.open(page, 400, "light")
    seen = json.loads(browser.evaluate(LOOK))
    assert seen["overlaps"] == ["H1 one | H2 two"]
    assert seen["scroll"][0] > seen["scroll"][1] and seen["outside"]
    assert seen["images"] == [[0, "x"]]
    assert seen["sounds"][0][2] != "played"
    assert complaints(browser.events)
