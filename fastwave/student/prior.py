"""Where the samples of a student come from, and how they become a wave.

    excitation    pulses at F0 and white noise; the network refines it
    wave          the excitation through the filter that the mel frames describe

The excitation has the power 1 at every frequency where it is noise. In voiced frames, noise up to a frequency gives
way to pulses at the whole numbers of the phase of F0 (vocoder/periods.py):

    e = n - (1 - sqrt(1 - v)) * low(n) + sqrt(v) * low(pulses)        v: voicing of the frame, in straight lines between

Frame i filters the excitation from sample (i-1)*hop to (i+1)*hop under a Hann window, so that neighbouring frames cross
over into each other. Its filter has minimum phase: it rings after a pulse, never before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import distributions, philox
from ..runtime import library
from ..sound import mel
from ..vocoder.frames import Frames

REACH = 24  # samples on each side of a low-passed pulse, and of the low-pass itself
PULSE = 0.72  # of the height at which harmonics alone would have the bands that are asked for, as measured on speech:
# with 1 the bands of voiced frames are 2.9 dB too high

Array = npt.NDArray[np.float64]


class Prior:
    """The excitation and the filters of one layout of frames, at `squeeze` samples a step of the network; or those of
    a flow. Above `voiced_to` Hz there is noise alone.
    """

    def __init__(self, layout: Frames, squeeze: int, flow: bool = False, voiced_to: float = 8000.0) -> None:
        self.layout, self.squeeze, self.flow = layout, squeeze, flow
        self.size = 1 << (4 * layout.hop - 1).bit_length()  # of the transform: two hops, and as much for the filter
        frequency = np.arange(self.size // 2 + 1) * (layout.sample_rate / self.size)
        centres = mel.band_centres(layout.mel)
        place = np.interp(frequency, centres, np.arange(len(centres)))
        self._band = np.minimum(place.astype(int), max(0, len(centres) - 2))
        self._above = np.minimum(self._band + 1, len(centres) - 1)
        self._share = place - self._band
        self._of_one = np.log(mel.magnitudes(np.ones((1, layout.bands)), layout.mel))  # a frame of 1 in each band
        self._log_floor = math.log(layout.mel.floor)
        window = np.hanning(layout.mel.window + 1)[:-1]
        # white noise of power 1 has this magnitude on average under the window of the mel frames; a pulse of height 1
        # has 1, and so have the harmonics of a row of them, on average over frequency
        self._of_noise = math.sqrt(math.pi) / 2 * math.sqrt(float((window**2).sum()))
        self.window = np.hanning(2 * layout.hop + 1)[:-1]
        self._between = np.arange(layout.hop) / layout.hop  # the share of the next frame in each sample
        self._fold = np.zeros(self.size)
        self._fold[0] = self._fold[self.size // 2] = 1
        self._fold[1 : self.size // 2] = 2
        self._cut = min(1.0, 2 * voiced_to / layout.sample_rate)
        self._low = self._low_pass(np.arange(-REACH, REACH + 1))

    @property
    def tail(self) -> int:
        """Samples that ring on behind a stretch of the wave."""
        return self.size - self.layout.hop

    def inputs(
        self, rows: npt.NDArray[np.floating], phase: npt.NDArray[np.floating], noise: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float32]:
        """What the network refines: `excitation`, or `flow_inputs`."""
        return (self.flow_inputs if self.flow else self.excitation)(rows, phase, noise)

    def excitation(
        self, rows: npt.NDArray[np.floating], phase: npt.NDArray[np.floating], noise: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float32]:
        """The samples from the first of `rows` up to the last one, [frames * hop]. The bits depend on that number too.

        rows [frames + 1, width]; phase of F0 in periods, [frames + 3], from one frame before to one behind, because a
        pulse there is heard here; noise [frames * hop + 2 * REACH], from REACH samples before the first one on.
        """
        count = (len(rows) - 1) * self.layout.hop
        voicing = self._voicing(rows)
        now = noise[REACH : REACH + count]
        low = np.convolve(noise, self._low, mode="valid") if self._cut < 1 else now
        pulses = self._pulses(phase, count)
        mixed = now - (1 - np.sqrt(1 - voicing)) * low + np.sqrt(voicing) * pulses
        return np.asarray(mixed, dtype=np.float32)

    def flow_inputs(
        self, rows: npt.NDArray[np.floating], phase: npt.NDArray[np.floating], noise: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float32]:
        """What a flow makes the same samples of, [3, frames * hop]: sqrt(v) * low(pulses), the white noise of each
        sample, and that of the sample one step before. The arguments are those of `excitation`.
        """
        count = (len(rows) - 1) * self.layout.hop
        pulses = np.sqrt(self._voicing(rows)) * self._pulses(phase, count)
        before = REACH - self.squeeze
        parts = (pulses, noise[REACH : REACH + count], noise[before : before + count])
        return np.stack(parts).astype(np.float32)

    def _voicing(self, rows: npt.NDArray[np.floating]) -> Array:
        """That of every sample from the first of the rows up to the last one."""
        values = np.clip(rows[:, self.layout.voicing], 0, 1).astype(np.float64)
        return np.asarray((values[:-1, None] + np.diff(values)[:, None] * self._between).ravel())

    def conditions(self, rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Frames [frames + 1, width] -> what the network sees of them at each step, [frames * hop / squeeze, width]."""
        values = self.layout.conditions(np.asarray(rows, np.float32)).numpy()
        share = self._between[:: self.squeeze].astype(np.float32)[:, None]
        lines = values[:-1, None] * (1 - share) + values[1:, None] * share
        return np.asarray(lines.reshape(-1, values.shape[1]))

    def filters(self, rows: npt.NDArray[np.floating]) -> npt.NDArray[np.complex128]:
        """Frames [n, width] -> the spectrum of the filter of each, [n, size / 2 + 1]."""
        bands = self._of_one + self._log_floor * (1 - np.asarray(rows[:, : self.layout.bands], np.float64)) / 2
        logs = bands.take(self._band, axis=1)
        logs += (bands.take(self._above, axis=1) - logs) * self._share
        logs -= math.log(self._of_noise)
        angles = np.fft.rfft(np.fft.irfft(logs, self.size) * self._fold).imag.astype(np.float32)
        loudness = np.exp(logs)
        spectrum = np.empty(logs.shape, np.complex128)
        # in float32 sine and cosine take a tenth of the time, and turn the filter by 1e-7 at most
        spectrum.real, spectrum.imag = loudness * np.cos(angles), loudness * np.sin(angles)
        if not self.flow:
            return spectrum
        responses = np.fft.irfft(spectrum, self.size)
        responses[:, self.size - 2 * self.layout.hop + 1 :] = 0
        return np.asarray(np.fft.rfft(responses))

    def shaped(
        self, excitation: npt.NDArray[np.floating], filters: npt.NDArray[np.complexfloating], tail: Array
    ) -> tuple[Array, Array]:
        """Excitation from one hop before the first of the filters' frames on, [(frames + 1) * hop] -> the wave from
        there on, [frames * hop], and what rings on behind it. `tail` is that of the stretch before.
        """
        hop, count = self.layout.hop, len(filters)
        hops = excitation[: (count + 1) * hop].reshape(count + 1, hop)
        pieces = np.zeros((count, self.size))
        np.multiply(hops[:-1], self.window[:hop], out=pieces[:, :hop])
        np.multiply(hops[1:], self.window[hop:], out=pieces[:, hop : 2 * hop])
        parts = np.fft.irfft(np.fft.rfft(pieces) * filters, self.size)
        total = np.zeros(count * hop + self.tail)
        total[: self.tail] = tail
        for frame in range(count):
            total[frame * hop : frame * hop + self.size] += parts[frame]
        return total[: count * hop], total[count * hop :]

    def _pulses(self, phase: npt.NDArray[np.floating], count: int) -> Array:
        """[count]: a low-passed pulse at every whole number of the phase, between samples where need be."""
        place_of_frame = np.arange(-1, len(phase) - 1) * float(self.layout.hop)
        numbers = np.arange(math.floor(phase[0]) + 1, math.floor(phase[-1]) + 1)
        place = np.interp(numbers, phase, place_of_frame)
        place = place[(place > -REACH) & (place < count + REACH)]
        margin = 2 * REACH
        result = np.zeros(count + 2 * margin)
        whole = np.floor(place).astype(int)
        taps = np.arange(1 - REACH, REACH + 1)
        np.add.at(result, whole[:, None] + taps + margin, self._low_pass(taps - (place - whole)[:, None]))
        return result[margin : margin + count] * (PULSE * self._of_noise)

    def _low_pass(self, distance: npt.NDArray[Any]) -> Array:
        """The impulse response of the low-pass, so many samples from its middle."""
        return np.asarray(self._cut * np.sinc(self._cut * distance) * np.cos(np.pi * distance / (2 * REACH + 2)) ** 2)


def shaped(excitation: Tensor, filters: Tensor, window: Tensor) -> Tensor:
    """As `Prior.shaped`, in torch and with gradients, without a tail: excitation [B, (frames + 1) * hop] and filters
    [B, frames, size / 2 + 1] -> wave [B, frames * hop]
    """
    hop, size, count = len(window) // 2, 2 * (filters.shape[2] - 1), filters.shape[1]
    spectrum: Tensor = torch.fft.rfft(excitation.unfold(1, 2 * hop, hop) * window, size)
    parts: Tensor = torch.fft.irfft(spectrum * filters, size)
    total = (count - 1) * hop + size
    wave = torch.nn.functional.fold(parts.transpose(1, 2), (1, total), (1, size), stride=(1, hop))
    return wave[:, 0, 0, : count * hop]


def gain(filters: Tensor, window: Tensor) -> Tensor:
    """What `shaped` makes of a sample of the excitation at its own time: filters [B, frames, size / 2 + 1] ->
    [B, frames * hop]. As filters ring forwards only, it is the diagonal of a triangular matrix.
    """
    hop = len(window) // 2
    first = torch.fft.irfft(filters)[:, :, 0]  # of the impulse response
    before = torch.nn.functional.pad(first[:, :-1], (1, 0))
    total: Tensor = first[..., None] * window[:hop] + before[..., None] * window[hop:]
    return total.flatten(1)


def normal(seed: int, stream: int, first: int, count: int, native: bool = True) -> npt.NDArray[np.float32]:
    """Normal numbers for times first .. first+count-1 of a stream: draws 0 and 1 of `fastwave.noise`, [count]."""
    if native:
        uniforms = torch.empty(count, 2)
        library.noise(seed, stream, first, count, 2, uniforms.data_ptr())
    else:
        uniforms = philox.noise(seed, stream, first, count, 2)
    return distributions.normal(uniforms.numpy())
