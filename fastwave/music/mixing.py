"""The parts that a band plays -> stereo at the rate of a file, block by block.

A file gets one gain from its first sample to its last, so that nothing in it is pumped up or down: the band's sound is
kept in a temporary file of 128 kB a second while its peak is measured, and then read again. What is played while it is
made cannot wait for that, and takes a gain that is estimated from the notes. Both pass a curve that never clips.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import AudioError
from ..sound import audio, loudness
from .casting import Cast, levels

MOST_GAIN = 100.0  # 40 dB: a piece that is nearly silent is not blown up further
LOUDEST_NOTE = 0.5  # the peak that a note at velocity 127 is expected to have, where it cannot be measured
_CREST = 2.1  # the peak of many tones together, over the root of the sum of the squares of theirs

Array = npt.NDArray[np.float32]


def mixed(blocks: Iterable[Array], cast: Cast) -> Iterator[Array]:
    """[parts, samples] -> [samples, 2]: left and right, at the gains and places of the parts."""
    matrix = np.asarray(levels(cast), dtype=np.float32)
    for block in blocks:
        yield np.ascontiguousarray(block.T @ matrix)


def finished(blocks: Iterable[Array], gain: float, rate: int, new_rate: int) -> Iterator[Array]:
    """Stereo at the band's rate -> [samples, 2] at the file's rate, louder by a factor, never beyond full scale."""
    for block in audio.resampled(blocks, rate, new_rate, 2) if rate != new_rate else blocks:
        if len(block):
            yield loudness.bent(block * np.float32(gain))


def gain_for(peak: float, gain_db: float) -> float:
    """The factor that brings the peak to where the curve begins, and further by what the user asks for."""
    fitting = min(MOST_GAIN, loudness.KNEE / peak) if peak > 0 else 1.0
    return float(fitting * 10 ** (gain_db / 20))


def expected_peak(cast: Cast) -> float:
    """How loud the fullest moment is likely to be, from velocities and gains alone."""
    changes = []
    for part, sides in zip(cast.parts, levels(cast), strict=True):
        for note in part.notes:
            amplitude = max(sides) * LOUDEST_NOTE * (note.velocity / 127) ** 2
            changes += [(note.onset, amplitude), (note.end, -amplitude)]
    most = total = squares = 0.0
    for _, change in sorted(changes):  # at one moment ends come before onsets
        total += change
        squares += math.copysign(change * change, change)
        most = max(most, min(total, _CREST * math.sqrt(max(0.0, squares))))
    return most


class Recording:
    """What a band played: its blocks in a temporary file, and what is known of them. When something stops the band,
    what it played until then is kept, and `complain` raises it.
    """

    def __init__(self, file: BinaryIO, cast: Cast, keeps_parts: bool) -> None:
        self._file, self._cast, self._keeps_parts = file, cast, keeps_parts
        self._blocks: list[tuple[int, int]] = []  # where each begins in the file, and its samples
        self._failure: BaseException | None = None
        self.samples = 0
        self.peak = 0.0  # of the mix, over both channels

    def take(self, blocks: Iterable[Array]) -> None:
        """Play all blocks [parts, samples] into the file."""
        try:
            for block in blocks:
                self._take(np.asarray(block, dtype=np.float32))
        except (Exception, KeyboardInterrupt) as error:
            if not self.samples or isinstance(error, OSError):
                raise
            self._failure = error

    def _take(self, block: Array) -> None:
        mix = next(mixed([block], self._cast))
        if not np.isfinite(mix).all():
            raise AudioError(f"the band plays NaN or infinity after {self.samples} samples: nothing is written")
        self.peak = max(self.peak, float(np.abs(mix).max(initial=0.0)))
        kept = block if self._keeps_parts else mix
        self._blocks.append((self._file.tell(), block.shape[1]))
        self._file.write(np.ascontiguousarray(kept).tobytes())
        self.samples += block.shape[1]

    def complain(self) -> None:
        """Raise what stopped the band, if something did."""
        if self._failure is not None:
            raise self._failure

    def stereo(self) -> Iterator[Array]:
        """The mix [samples, 2], before its gain, at the band's rate."""
        parts = len(self._cast.parts)
        for at, samples in self._blocks:
            if self._keeps_parts:
                yield from mixed([self._read(at, samples * parts).reshape(parts, samples)], self._cast)
            else:
                yield self._read(at, samples * 2).reshape(samples, 2)

    def stem(self, part: int) -> Iterator[Array]:
        """One part at its gain and place [samples, 2], so that all stems together are the mix."""
        sides = np.asarray(levels(self._cast)[part], dtype=np.float32)
        for at, samples in self._blocks:
            yield self._read(at + 4 * samples * part, samples)[:, None] * sides

    def _read(self, at: int, values: int) -> Array:
        self._file.seek(at)
        return np.frombuffer(self._file.read(4 * values), dtype=np.float32)


@contextlib.contextmanager
def recorded(blocks: Iterable[Array], cast: Cast, keeps_parts: bool = False) -> Iterator[Recording]:
    """A recording of all blocks, which needs little memory, and is gone behind the `with` block."""
    with tempfile.TemporaryFile() as file:
        recording = Recording(file, cast, keeps_parts)
        try:
            recording.take(blocks)
        except OSError as error:
            reason = error.strerror or error
            raise AudioError(f"the temporary folder {tempfile.gettempdir()} takes no more: {reason}") from error
        yield recording


def named_stems(names: Sequence[str], suffix: str) -> list[str]:
    """A file name for every part: its number and what of its name every system takes."""
    width = max(2, len(str(len(names))))
    kept = ["".join(sign if sign.isalnum() else "-" for sign in name).strip("-")[:40] for name in names]
    return [f"{number:0{width}}-{name or 'part'}{suffix}" for number, name in enumerate(kept, 1)]
