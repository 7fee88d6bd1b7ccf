"""How a result shows itself in a notebook: a player under a picture of each sound, or the text."""

from __future__ import annotations

import base64
import html
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..sound import audio
from ..sound.picture import Png, picture

if TYPE_CHECKING:
    from .result import Result

MOST_STREAMS = 8  # that are shown
MOST_BYTES = 8 << 20  # of the sounds of a result, 16 bits a sample; a notebook saves every player with its sound
MOST_CHARACTERS = 20_000  # of each text


def html_of(result: Result) -> str:
    """HTML that needs nothing from elsewhere."""
    count = len(result.lengths)
    shown = min(count, MOST_STREAMS)
    parts = [_sound(result, row, MOST_BYTES // 2 // shown) for row in range(shown)] if result.codec.is_audio else []
    parts = parts or [_text(text) for text in result.text[:shown]]
    if count > shown:
        parts.append(f"<p>These are the first {shown} of {count} streams; save() writes all of them.</p>")
    return f"<div>{''.join(parts)}</div>"


def plot_of(result: Result) -> Png:
    """The streams of a sound, the first ones of many, below each other."""
    return picture([_wave(result, row) for row in range(min(len(result.lengths), MOST_STREAMS))], result.sample_rate)


def wav_bytes(wave: Any, sample_rate: int) -> bytes:
    """The bytes of the wav file of a sound [T]."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.wav"
        audio.save(path, wave, sample_rate)
        return path.read_bytes()


def _wave(result: Result, row: int) -> Any:
    return result.samples[row, : result.lengths[row]].double().numpy()


def _sound(result: Result, row: int, most: int) -> str:
    name = f"Stream {row}" if len(result.lengths) > 1 else "Sound"
    return player(name, result.samples[row, : result.lengths[row]], result.sample_rate, most)


def player(name: str, wave: Any, rate: int, most: int) -> str:
    """HTML of a sound [T] or [T, channels]: a picture, and a player of at most so many samples of each channel."""
    length, heard = len(wave), wave[:most]
    rows = wave.double().reshape(length, -1).T
    image = _data("image/png", picture([row.numpy() for row in rows], rate))
    sound = _data("audio/wav", wav_bytes(heard, rate))
    cut = (
        f"<figcaption>The player has the first {most / rate:.1f} s of {length / rate:.1f} s; save() writes all of it."
        "</figcaption>"
        if length > most
        else ""
    )
    return (
        f'<figure style="margin:0 0 16px"><img alt="{name}: waveform over spectrogram, {length / rate:.2f} s" '
        f'src="{image}" style="display:block;max-width:100%"><audio controls aria-label="{name}" src="{sound}" '
        f'style="display:block;width:100%;max-width:872px"></audio>{cut}</figure>'
    )


def _text(text: str) -> str:
    cut = (
        f"<p>The first {MOST_CHARACTERS:,} of {len(text):,} characters; save() writes all of them.</p>"
        if len(text) > MOST_CHARACTERS
        else ""
    )
    return f'<pre style="white-space:pre-wrap">{html.escape(text[:MOST_CHARACTERS])}</pre>{cut}'


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
