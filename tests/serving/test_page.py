"""The page of the server in a real browser: what is typed is heard, and nothing else is asked for."""

import base64
import io
import json
import time

import numpy as np
import pytest
import soundfile

import fastwave
from browser import LOOK, NEEDS_BROWSER, Browser, complaints
from fastwave.serving.catalog import Catalog, ModelEntry, VoiceEntry
from http_server import serving_app
from shapes import make_model
from small_voice import make_voice

app = pytest.importorskip("fastwave.serving.app")
pytestmark = NEEDS_BROWSER
TOKEN = "a-long-secret"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture(params=[None, TOKEN], ids=["open", "token"])
def address(request):
    entries = [
        ModelEntry("tiny", fastwave.Engine(make_model("categorical"), threads=1), 2),
        VoiceEntry("hazel", [make_voice()], 2),
    ]
    with serving_app(app.Server(Catalog(entries)), request.param) as address:
        yield address, request.param


def opened(browser, address, width=1280):
    """The page, with its list of names loaded."""
    url, token = address
    browser.open(url + "/", width, "light")
    if token is not None:
        wait(browser, "!document.getElementById('locked').hidden")
        change = "dispatchEvent(new Event('change'))"
        browser.evaluate(f"(t => {{ t.value = '{token}'; t.{change}; }})(document.getElementById('token'))")
    wait(browser, "document.getElementById('name').options.length === 2")


def wait(browser, code):
    end = time.monotonic() + 60
    while not browser.evaluate(code):
        assert time.monotonic() < end, browser.evaluate("document.getElementById('say').textContent")


def made(browser):
    """Press the button, and wait for the sound: its bytes, and how long the player says it is."""
    browser.evaluate("document.getElementById('player').hidden = true; document.getElementById('go').click()")
    wait(browser, "!document.getElementById('player').hidden")
    code = """(async () => {
      const player = document.getElementById('player');
      const bytes = new Uint8Array(await (await fetch(player.src)).arrayBuffer());
      for (let i = 0; i < 300 && player.readyState < 1; i++) await new Promise(done => setTimeout(done, 20));
      player.muted = true;
      const played = await player.play().then(() => 'played', error => String(error));
      player.pause();
      let text = '';
      for (const byte of bytes) text += String.fromCharCode(byte);
      return JSON.stringify([btoa(text), player.duration, played, document.getElementById('save').download]);
    })()"""
    data, duration, played, name = json.loads(browser.evaluate(code))
    return base64.b64decode(data), duration, played, name


def test_what_is_typed_is_heard_and_can_be_saved(browser, address):
    opened(browser, address)
    browser.evaluate("document.getElementById('text').value = 'The kettle is on.'")
    data, duration, played, name = made(browser)
    heard, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    said = make_voice()("The kettle is on.", seed=0, speed=1.0).samples[0].numpy()
    assert rate == 16_000 and len(heard) == len(said)
    assert np.abs(heard - said).max() <= 0.5001 / 32768
    assert duration == pytest.approx(len(said) / rate, abs=0.01) and played == "played" and name == "hazel.wav"
    pixels = "document.getElementById('picture').getContext('2d').getImageData(0, 0, 60, 384).data"
    assert (
        browser.evaluate(f"{pixels}.filter(value => value > 99).length") > 60 * 384 * 1.2
    )  # more than the opaque black of an empty picture
    asked = [event["params"]["request"]["url"] for event in browser.events if is_request(event)]
    assert asked and all(url.startswith((address[0], "blob:", "data:")) for url in asked)
    assert [each for each in complaints(browser.events) if "401" not in json.dumps(each)] == []


def is_request(event):
    return event.get("method") == "Network.requestWillBeSent"


def test_a_model_is_chosen_and_heard(browser, address):
    opened(browser, address)
    browser.evaluate("""(() => { const name = document.getElementById('name'); name.value = 'tiny';
      name.dispatchEvent(new Event('change')); document.getElementById('seconds').value = '0.5';
      document.getElementById('seed').value = '7'; })()""")
    assert browser.evaluate("document.getElementById('speech').hidden && !document.getElementById('music').hidden")
    data, _, played, name = made(browser)
    alone = fastwave.generate(make_model("categorical"), seconds=0.5, seed=7).samples[0].numpy()
    heard, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    assert np.abs(heard - alone).max() <= 1.0001 / 32768 and played == "played" and name == "tiny.wav"


def test_a_refusal_is_shown(browser, address):
    opened(browser, address)
    browser.evaluate("document.getElementById('text').value = '...'; document.getElementById('go').click()")
    wait(browser, "document.getElementById('say').textContent.includes('nothing that can be spoken')")


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_the_window(browser, address, width):
    opened(browser, address, width)
    made(browser)
    seen = json.loads(browser.evaluate(LOOK))
    wanted, wide = seen["scroll"]
    assert wanted <= wide <= width and seen["outside"] == [] and seen["overlaps"] == []


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_of_the_routes_fits_the_window(browser, address, width):
    browser.open(address[0] + "/docs", width, "light")
    seen = json.loads(browser.evaluate(LOOK))
    wanted, wide = seen["scroll"]
    assert wanted <= wide <= width and seen["outside"] == [] and seen["overlaps"] == []
