"""A result shows itself: a player that plays what would be saved, pictures on absolute scales, text that is escaped."""

import base64
import re
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from fastwave import InputError
from fastwave.codec import by_name
from fastwave.generation import display
from fastwave.generation.result import Result
from fastwave.sound import picture

RATE = 8000
VOID = ("img", "br")


class Elements(HTMLParser):
    """The elements of HTML, each of which must be closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def sound(*waves, lengths=None):
    codec = by_name("linear", 65536)
    tokens = torch.stack([codec.encode(torch.as_tensor(wave, dtype=torch.float32)) for wave in waves])
    return Result(tokens, lengths or (tokens.shape[1],) * len(waves), codec, RATE)


def text(*lines):
    codec = by_name("bytes", 256)
    longest = max(len(line.encode()) for line in lines)
    rows = [list(line.encode()) + [10] * (longest - len(line.encode())) for line in lines]
    return Result(torch.tensor(rows), tuple(len(line.encode()) for line in lines), codec, 0)


def sine(seconds=1.0, amplitude=1.0):
    return amplitude * torch.sin(2 * torch.pi * 1000 * torch.arange(round(RATE * seconds)) / RATE)


def content_of(source, kind):
    assert source.startswith(f"data:{kind};base64,")
    return base64.b64decode(source.split(",")[1])


def colours_of(png):
    """[height, width, 3] of a PNG as fastwave writes it."""
    at, chunks = 8, {}
    while at < len(png):
        size, name = struct.unpack(">I4s", png[at : at + 8])
        chunks[name] = png[at + 8 : at + 8 + size]
        at += 12 + size
    width, height = struct.unpack(">2I", chunks[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    return np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(256, 3)[rows[:, 1:]].astype(int)


def spectrogram_of(png, row=0):
    panel = picture.TOP + picture.WAVEFORM + picture.BETWEEN + picture.SPECTROGRAM + picture.BOTTOM
    top = row * panel + picture.TOP + picture.WAVEFORM + picture.BETWEEN
    return colours_of(png)[top : top + picture.SPECTROGRAM, picture.LEFT : picture.LEFT + picture.WIDTH]


def test_a_sound_has_a_player_of_the_file_that_save_writes(tmp_path):
    result = sound(sine())
    shown = Elements(result._repr_html_())
    (player,) = shown.of("audio")
    (path,) = result.save(tmp_path / "saved.wav")
    assert content_of(player["src"], "audio/wav") == path.read_bytes()
    assert "controls" in player and player["aria-label"]
    (image,) = shown.of("img")
    assert content_of(image["src"], "image/png") == result.plot()
    assert image["alt"] == "Sound: waveform over spectrogram, 1.00 s"


def test_every_stream_of_a_batch_is_shown_with_its_own_length(tmp_path):
    result = sound(sine(), sine(amplitude=0.1), lengths=(RATE, RATE // 2))
    shown = Elements(result._repr_html_())
    paths = result.save(tmp_path / "saved.wav")
    players = shown.of("audio")
    assert [content_of(player["src"], "audio/wav") for player in players] == [path.read_bytes() for path in paths]
    assert [player["aria-label"] for player in players] == ["Stream 0", "Stream 1"]
    assert colours_of(result.plot()).shape[0] == 2 * colours_of(sound(sine()).plot()).shape[0]


def test_of_a_large_batch_the_first_streams_are_shown_and_that_is_said():
    result = sound(*[sine(0.1)] * (display.MOST_STREAMS + 2))
    html = result._repr_html_()
    assert len(Elements(html).of("audio")) == display.MOST_STREAMS
    assert "the first 8 of 10 streams" in html


def test_a_long_sound_is_cut_and_that_is_said(monkeypatch):
    monkeypatch.setattr(display, "MOST_BYTES", RATE)
    html = sound(sine(2.0))._repr_html_()
    wav = content_of(Elements(html).of("audio")[0]["src"], "audio/wav")
    assert len(wav) - 44 == RATE  # two bytes a sample, half a second
    assert "the first 0.5 s of 2.0 s; save() writes all of it" in html


def test_text_is_escaped_and_cut():
    shown = Elements(text("<b>&amp; 'one'\n  two</b>", "three")._repr_html_())
    assert [name for name, _ in shown.found] == ["div", "pre", "pre"]
    assert "".join(shown.texts) == "<b>&amp; 'one'\n  two</b>three"
    html = text("x" * (display.MOST_CHARACTERS + 1))._repr_html_()
    assert "The first 20,000 of 20,001 characters" in html and "x" * (display.MOST_CHARACTERS + 1) not in html


def test_silence_is_dark_and_a_sine_at_full_scale_is_bright():
    silence, loud = (spectrogram_of(sound(wave).plot()) for wave in (torch.zeros(RATE), sine()))
    assert silence.max() < 40
    inside = loud[:, 40:-40]  # without the edges, where the tone begins and ends
    row = inside.sum(axis=(1, 2)).argmax()
    assert inside[row].min(axis=0).tolist()[0] > 240
    assert 1 - row / (picture.SPECTROGRAM - 1) == pytest.approx(1000 / (RATE / 2), abs=0.01)


def test_a_quiet_sound_beside_a_loud_one_looks_as_it_does_alone():
    quiet = sine(amplitude=0.01)
    alone, beside = sound(quiet).plot(), sound(sine(), quiet).plot()
    assert (spectrogram_of(alone) == spectrogram_of(beside, row=1)).all()
    assert spectrogram_of(alone).max() < spectrogram_of(beside).max() - 20


def test_the_waveform_fills_the_height_only_at_full_scale():
    def height(wave):
        rows = colours_of(sound(wave).plot())[picture.TOP : picture.TOP + picture.WAVEFORM, picture.LEFT + 100]
        return (rows == picture._AROUND[picture.WAVE - picture.SHADES]).all(axis=1).sum()

    assert height(sine()) > 0.97 * picture.WAVEFORM
    assert height(sine(amplitude=0.1)) == pytest.approx(0.1 * picture.WAVEFORM, abs=2)


def test_a_plot_is_saved_and_shows_itself_as_a_picture(tmp_path):
    result = sound(sine())
    plot = result.plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes() == plot == plot._repr_png_()
    assert re.fullmatch(r"<PNG of 872 x 402 pixels, [\d,]+ bytes>", repr(plot))
    with pytest.raises(InputError, match="cannot write"):
        result.plot(tmp_path / "nowhere" / "plot.png")
    with pytest.raises(InputError, match="has no spectrogram"):
        text("abc").plot()


@pytest.mark.parametrize("samples", [0, 1, 3, 700])
def test_sounds_of_any_length_are_shown(samples):
    result = sound(torch.zeros(samples))
    assert spectrogram_of(result.plot()).max() < 40
    if samples:
        Elements(result._repr_html_())
