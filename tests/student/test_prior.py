"""What a student begins with: pulses where the phase of F0 says, noise of the spectrum that frames describe."""

import numpy as np
import pytest
import torch

from fastwave.sound import pitch
from fastwave.sound.mel import mel
from fastwave.student.prior import REACH, Prior, normal, shaped
from fastwave.vocoder import analysis, periods
from fastwave.vocoder.frames import Frames

LAYOUT = Frames()
HOP = LAYOUT.hop


def wave_of(rows, prior, seed=0):
    """The prior of frames [n, width], from the first sample on, [(n - 2) * hop]."""
    count = len(rows) - 1
    phase = np.pad(periods.running(rows[:, LAYOUT.log_f0], LAYOUT), 1, mode="edge")
    excitation = prior.excitation(rows, phase, normal(seed, 0, 0, count * HOP + 2 * REACH))
    before = np.concatenate([np.zeros(HOP, np.float32), excitation])
    wave, _ = prior.shaped(before, prior.filters(rows[:count]), np.zeros(prior.tail))
    return wave[HOP:]


def steady(count, voicing, f0=180.0):
    rows = np.empty((count, LAYOUT.width), dtype=np.float32)
    rows[:, : LAYOUT.bands] = np.linspace(0.6, 0.1, LAYOUT.bands)
    rows[:, LAYOUT.log_f0], rows[:, LAYOUT.voicing] = np.log(f0), voicing
    return rows


@pytest.mark.parametrize(("voicing", "within"), [(0.0, 1.0), (0.9, 2.5)])
def test_it_has_the_bands_that_the_frames_ask_for(voicing, within):
    rows = steady(120, voicing)
    made = mel(torch.from_numpy(wave_of(rows, Prior(LAYOUT, 8)).astype(np.float32)), LAYOUT.mel).numpy()
    decibels = 50 * (made[10:-10] - rows[10 : 10 + len(made) - 20, : LAYOUT.bands])
    assert abs(float(decibels.mean())) < within


def test_voiced_frames_have_their_f0_and_others_none():
    prior = Prior(LAYOUT, 8)
    track = pitch.track(wave_of(steady(120, 1.0), prior), LAYOUT.sample_rate, 60, 500)
    assert track.voiced.mean() > 0.95 and np.nanmedian(track.pitch) == pytest.approx(180, rel=0.01)
    assert pitch.track(wave_of(steady(120, 0.0), prior), LAYOUT.sample_rate, 60, 500).voiced.mean() < 0.05


def test_pulses_reach_as_high_as_they_are_asked_to():
    """The share of the power at 6 to 8 kHz that stands within 30 Hz of a harmonic, which of noise is a third."""
    shares = []
    for voiced_to in (4500.0, 8000.0):
        wave = wave_of(steady(200, 1.0), Prior(LAYOUT, 8, voiced_to=voiced_to))[8 * HOP :]
        power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
        frequency = np.fft.rfftfreq(len(wave), 1 / LAYOUT.sample_rate)
        high = (frequency > 6000) & (frequency < 7900)
        near = np.abs((frequency + 90) % 180 - 90) < 30
        shares.append(power[high & near].sum() / power[high].sum())
    assert shares[0] == pytest.approx(1 / 3, abs=0.05) and shares[1] > 0.95


def test_the_filter_rings_after_a_pulse_and_not_before():
    prior = Prior(LAYOUT, 8)
    rows = steady(12, 0.0)
    excitation = np.zeros(12 * HOP)
    excitation[5 * HOP] = 1.0
    wave, _ = prior.shaped(excitation, prior.filters(rows[:11]), np.zeros(prior.tail))
    loud = np.abs(wave[5 * HOP :]).max()
    assert np.abs(wave[: 5 * HOP]).max() < 1e-3 * loud


def test_torch_shapes_as_numpy_does():
    prior, rng = Prior(LAYOUT, 8), np.random.default_rng(0)
    filters = prior.filters(steady(9, 0.5) + 0.1 * rng.standard_normal((9, LAYOUT.width)).astype(np.float32))
    excitation = rng.standard_normal(10 * HOP)
    known, _ = prior.shaped(excitation, filters, np.zeros(prior.tail))
    made = shaped(torch.from_numpy(excitation)[None], torch.from_numpy(filters)[None], torch.from_numpy(prior.window))
    assert torch.allclose(made[0], torch.from_numpy(known), atol=1e-12)


def test_a_stretch_goes_on_where_the_one_before_it_ended():
    prior, rows = Prior(LAYOUT, 8), steady(13, 0.7)
    excitation = np.random.default_rng(0).standard_normal(14 * HOP)
    whole, tail = prior.shaped(excitation, prior.filters(rows), np.zeros(prior.tail))
    first, between = prior.shaped(excitation[: 7 * HOP], prior.filters(rows[:6]), np.zeros(prior.tail))
    second, last = prior.shaped(excitation[6 * HOP :], prior.filters(rows[6:]), between)
    assert np.allclose(np.concatenate([first, second]), whole, atol=1e-12) and np.allclose(last, tail, atol=1e-12)


def test_normal_numbers_depend_on_their_time_alone_and_are_those_of_the_philox_in_python():
    whole = normal(7, 3, 0, 500)
    assert np.array_equal(whole[200:], normal(7, 3, 200, 300))
    assert np.array_equal(whole, normal(7, 3, 0, 500, native=False))
    assert abs(float(normal(0, 0, 0, 100_000).std()) - 1) < 0.01


def test_frames_of_a_recording_come_from_the_room_of_the_vocoder():
    wave = 0.1 * np.sin(2 * np.pi * 220 * np.arange(8000) / 16_000)
    rows = analysis.frames(wave)
    assert rows.shape == (40, LAYOUT.width)
    assert np.exp(rows[20, LAYOUT.log_f0]) == pytest.approx(220, rel=0.01) and rows[20, LAYOUT.voicing] > 0.95
