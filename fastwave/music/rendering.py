"""Notes -> stereo sound: `render` makes a file or samples of a piece, `stream` the same as it is made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import AudioError, InputError
from ..generation.saving import check_folder, check_output, save_or_rescue
from ..sound import audio
from . import bands, mixing
from .band import Band
from .casting import Cast, assign
from .midi import read
from .notes import Piece
from .options import Playing

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rendered:
    """A piece as sound. Samples are kept only where no file was asked for: a long piece would fill the memory."""

    seconds: float
    sample_rate: int
    instruments: tuple[str, ...]  # who played each track
    names: tuple[str, ...]  # of the tracks
    notices: tuple[str, ...]  # what of the piece is not heard, in sentences
    paths: tuple[Path, ...] = ()  # what was written: the mix first, then the stems
    samples: Tensor | None = None  # float32 [2, T] in [-1, 1], left and right

    def save(self, path: str | os.PathLike[str]) -> list[Path]:
        """Write the samples as wav, flac, ogg or mp3 by suffix, whole or not at all."""
        if self.samples is None:
            raise InputError(f"the samples were not kept: they are in {', '.join(map(str, self.paths))}.")
        audio.save(path, self.samples.T, self.sample_rate)
        return [Path(path)]

    def _repr_html_(self) -> str:
        from ..generation.display import MOST_BYTES, player

        if self.samples is None:
            return f"<p>{self.seconds:.1f} s of music.</p>"
        return f"<div>{player('Music', self.samples.T, self.sample_rate, MOST_BYTES // 4)}</div>"


def render(
    midi: str | os.PathLike[str] | Piece,
    out: str | os.PathLike[str] | None = None,
    *,
    band: Band | None = None,
    instrument: str | os.PathLike[str] | None = None,
    stems: str | os.PathLike[str] | None = None,
    **playing: Any,
) -> Rendered:
    """Play a MIDI file or a piece: into a file (wav, flac, ogg or mp3 by suffix), or where there is none into samples.

    `instrument` plays all tracks; without one, each track is played by the instrument of the band that is nearest to
    its program. It can also be the name or the folder of a band. `stems` is a folder for a file of every track. The
    rest are the fields of `options.Playing`: tempo, transpose, start, end, gain in dB, sample_rate, seed, temperature.
    """
    settings = Playing(**playing)
    if out is not None:
        check_output(out, settings.sample_rate)
    if stems is not None:
        check_folder(stems, "stems")
    chosen, cast = _ready(midi, band, instrument, settings)
    blocks = chosen.stream(cast.parts, settings.seed, settings.temperature)
    return recorded(blocks, cast, chosen.sample_rate, settings, out, stems)


def stream(
    midi: str | os.PathLike[str] | Piece,
    *,
    band: Band | None = None,
    instrument: str | os.PathLike[str] | None = None,
    **playing: Any,
) -> Iterator[Array]:
    """The piece in blocks [samples, 2] as they are made. Its level is estimated from the notes, where `render`
    measures it."""
    settings = Playing(**playing)
    chosen, cast = _ready(midi, band, instrument, settings)
    return live(chosen.stream(cast.parts, settings.seed, settings.temperature), cast, chosen.sample_rate, settings)


def _ready(
    midi: str | os.PathLike[str] | Piece,
    band: Band | None,
    instrument: str | os.PathLike[str] | None,
    settings: Playing,
) -> tuple[Band, Cast]:
    """The band, and who plays what; everything that can be refused is refused before the band is loaded."""
    piece = settings.edit(midi if isinstance(midi, Piece) else read(midi))
    if band is not None:
        return band, assign(piece, band.names, None if instrument is None else str(instrument))
    choice = bands.choose(instrument)
    assign(piece, bands.instruments_of(choice.folder), choice.instrument)
    loaded = bands.load_folder(choice.folder)
    return loaded, assign(piece, loaded.names, choice.instrument)


def live(blocks: Iterable[Array], cast: Cast, rate: int, settings: Playing) -> Iterator[Array]:
    """What a band plays, as stereo of an estimated level."""
    gain = mixing.gain_for(mixing.expected_peak(cast), settings.gain)
    return mixing.finished(mixing.mixed(blocks, cast), gain, rate, settings.sample_rate)


def recorded(
    blocks: Iterable[Array],
    cast: Cast,
    rate: int,
    settings: Playing,
    out: str | os.PathLike[str] | None,
    stems: str | os.PathLike[str] | None = None,
) -> Rendered:
    """What a band plays, into files or into samples. When something stops the band, what it played until then is
    saved before the error is raised.
    """
    with mixing.recorded(blocks, cast, keeps_parts=stems is not None) as recording:
        take = _Take(recording, cast, rate, settings)
        if not recording.samples:
            raise AudioError("the band played nothing: its stream holds no samples.")
        paths = [] if out is None else save_or_rescue(take, out)
        paths += [] if stems is None else take.save_stems(Path(stems), Path(out or "x.wav").suffix)
        samples = take.samples() if out is None else None
        recording.complain()
        instruments = tuple(part.instrument for part in cast.parts)
        seconds = recording.samples / rate
        return Rendered(seconds, settings.sample_rate, instruments, cast.names, cast.notices, tuple(paths), samples)


class _Take:
    """A recording at its final level and rate."""

    def __init__(self, recording: mixing.Recording, cast: Cast, rate: int, settings: Playing) -> None:
        self._recording, self._cast, self._rate, self._new_rate = recording, cast, rate, settings.sample_rate
        self._gain = mixing.gain_for(recording.peak, settings.gain)

    def save(self, path: str | os.PathLike[str]) -> list[Path]:
        """Write the mix."""
        self._write(path, self._recording.stereo())
        return [Path(path)]

    def save_stems(self, folder: Path, suffix: str) -> list[Path]:
        """Write a file of every part, which together are the mix."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {folder}: {error.strerror or error}.") from error
        paths = [folder / name for name in mixing.named_stems(self._cast.names, suffix)]
        for part, path in enumerate(paths):
            self._write(path, self._recording.stem(part))
        return paths

    def samples(self) -> Tensor:
        """The mix, [2, T]."""
        import torch

        return torch.from_numpy(np.concatenate(list(self._finished(self._recording.stereo())))).T

    def _write(self, path: str | os.PathLike[str], blocks: Iterable[Array]) -> None:
        audio.save_blocks(path, self._finished(blocks), self._new_rate, 2)

    def _finished(self, blocks: Iterable[Array]) -> Iterator[Array]:
        return mixing.finished(blocks, self._gain, self._rate, self._new_rate)
