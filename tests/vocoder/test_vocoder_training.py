"""From a folder of spoken sentences to the WaveNet of a voice, by one call."""

import json

import numpy as np
import pytest
import torch

from fastwave.model import WaveNet
from fastwave.sound import audio
from fastwave.speech import analysis
from fastwave.speech.acoustic.model import Acoustic
from fastwave.speech.acoustic.networks import Shape
from fastwave.speech.recordings import recordings
from fastwave.vocoder import training as vocoder_training
from fastwave.vocoder import vocoder
from fastwave.vocoder.data import VocoderData

SHAPE = {"residual_channels": 4, "skip_channels": 8, "dilations": (1, 2, 4)}
QUICK = {
    "steps": 4, "window": 800, "warmup": 1, "validate_every": 2, "sample_every": 4, "save_every": 2, "log_every": 1,
    "average": 0.9, "sample_seconds": 0.05, "validation_targets": 1_600,
}  # fmt: skip
SYMBOLS, WORDS, DURATIONS = ["_", "S", "IY1", ",", "DH", "AH0", "."], [-1, 0, 0, 1, 2, 2, 3], [5, 10, 20, 5, 5, 15, 48]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three sentences, the last one held out."""
    place = tmp_path_factory.mktemp("spoken")
    (place / "wavs").mkdir()
    lines = []
    for number in range(3):
        time = np.arange(sum(DURATIONS) * 200) / 16_000
        wave = 0.05 * sum(np.sin(2 * np.pi * n * (120 + 10 * number) * time + n) / n for n in range(1, 20))
        audio.save(place / "wavs" / f"{number}.wav", wave, 16_000)
        line = {"id": str(number), "text": "See, the", "symbols": SYMBOLS, "words": WORDS, "durations": DURATIONS}
        lines.append(json.dumps({**line, "held_out": number == 2}))
    (place / "utterances.jsonl").write_text("\n".join(lines) + "\n")
    return place


def acoustic():
    torch.manual_seed(0)
    return Acoustic(Shape(), 5.0, 0.2).eval().requires_grad_(False)


def test_a_run_makes_a_checkpoint_that_speaks_and_that_another_run_can_start_from(folder, tmp_path):
    config = vocoder.config(**SHAPE)
    out = vocoder_training.train(recordings(folder), tmp_path / "run", 1.0, config, **QUICK)
    settings = vocoder.VocoderSettings.from_dict(json.loads((out / "vocoder.json").read_text()))
    model = WaveNet.from_pretrained(out)
    wave = vocoder.Vocoder(model, settings, "reference")(analysis.frames(np.zeros(800)))
    assert wave.shape == (800,)
    data = VocoderData(out / "data")
    assert (data.frames, data.trained_frames) == (324, 216)

    sentences = recordings(folder)
    other = vocoder_training.train(
        sentences, tmp_path / "other", 1.0, start=model, **{**QUICK, "steps": 1, "learning_rate": 1e-9, "average": 0.0}
    )
    moved = WaveNet.from_pretrained(other)
    pairs = zip(model.parameters(), moved.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def test_with_an_acoustic_model_each_sentence_comes_with_predicted_bands_too(folder):
    sentences = list(recordings(folder, acoustic()))
    assert [each.held_out for each in sentences] == [False] * 4 + [True] * 2
    for real, predicted in zip(sentences[::2], sentences[1::2], strict=True):
        assert np.array_equal(real.wave, predicted.wave)
        assert real.frames.shape == predicted.frames.shape == (108, 42)
        assert np.allclose(real.frames[:, 40:], predicted.frames[:, 40:], atol=1e-5)
        assert not np.allclose(real.frames[:, :40], predicted.frames[:, :40], atol=0.01)
