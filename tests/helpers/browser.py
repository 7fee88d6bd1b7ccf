"""A real browser for tests of pages.

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

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDS_BROWSER = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium here: install it (apt-get install chromium) to test pages"
    ),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the browser is driven over pipes as on Linux"),
]
PATIENCE = 60  # seconds for one answer; a loaded machine needs several to start a browser


# What a page looks like: what overlaps, what is outside, and whether sounds play
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

    def open(self, address, width, scheme):
        """Load a page and wait until it has."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=address)
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


def complaints(events):
    """Errors and warnings of the console, and what was thrown."""
    loud = [event for event in events if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]
    return loud + [event for event in events if event.get("method") == "Runtime.consoleAPICalled"]
