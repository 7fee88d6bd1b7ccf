"""The acoustic model: shapes, durations, and what speed and pitch do."""

import dataclasses
import math

import pytest
import torch

from fastwave import ConfigError, InputError
from fastwave.speech.acoustic import Acoustic, Shape, networks
from fastwave.speech.acoustic.model import rounded
from fastwave.speech.acoustic.places import FRAME_FEATURES, UNIT_FEATURES, frame_features, places
from fastwave.speech.phones import Pause, Sentence, Word
from spoken_sentences import SMALL, make_sentence

LOG_F0, VOICING = 40, 41


@pytest.fixture(scope="module")
def model():
    """Untrained, with weights that make every input matter."""
    torch.manual_seed(3)
    made = Acoustic(SMALL, 5.3, 0.2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Acoustic.from_tensors(made.settings(), made.tensors())


def with_words(sentence, **changes):
    parts = [dataclasses.replace(p, **changes) if isinstance(p, Word) else p for p in sentence.parts]
    return Sentence(tuple(parts))


def test_the_networks_have_less_than_0_9_million_parameters():
    assert sum(p.numel() for p in Acoustic(Shape(), 5.3, 0.2).parameters()) < 900_000


@pytest.mark.parametrize(("taps", "dilation"), [(1, 1), (3, 1), (5, 1), (5, 4)])
def test_a_convolution_is_the_same_in_training_and_in_speaking(taps, dilation):
    torch.manual_seed(0)
    layer = networks.Convolution(6, 7, taps, dilation).double()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 6, 11, dtype=torch.float64)
    with torch.no_grad():
        spoken = layer(x)
    assert spoken.shape == (2, 7, 11)
    torch.testing.assert_close(spoken, layer(x), rtol=0, atol=1e-13)


def test_speaking_calls_nothing_that_keeps_a_kernel_of_every_length(model, monkeypatch):
    """oneDNN keeps those of conv1d: 60 MB after 200 sentences of different lengths."""
    monkeypatch.setattr(networks, "conv1d", None)
    sentence = make_sentence(6)
    assert len(model.frames(sentence, model.durations(sentence)))


def test_a_sentence_has_a_duration_for_every_unit_and_a_frame_for_every_step(model):
    sentence = make_sentence()
    durations = model.durations(sentence)
    assert durations.dtype == torch.int64 and len(durations) == len(sentence.units())
    assert int(durations.min()) >= 1
    frames = model.frames(sentence, durations)
    assert frames.shape == (int(durations.sum()), 42) and frames.dtype == torch.float32
    assert bool(torch.isfinite(frames).all())
    assert bool(((frames[:, VOICING] >= 0) & (frames[:, VOICING] <= 1)).all())


def test_rounding_keeps_every_partial_sum_to_half_a_frame():
    lengths = torch.rand(500, generator=torch.Generator().manual_seed(1)) * 9 + 1
    whole = rounded(lengths)
    assert float((whole.cumsum(0) - lengths.double().cumsum(0)).abs().max()) <= 0.5 + 1e-6
    assert rounded(torch.tensor([0.1, 0.1, 0.1, 5.0])).tolist() == [1, 1, 1, 2]


def test_speed_divides_the_length(model):
    sentence = make_sentence(4)
    slow = model.durations(sentence, speed=0.5)
    assert float(slow.sum()) == pytest.approx(2 * float(model.durations(sentence).sum()), abs=2)
    by_words = model.durations(with_words(sentence, rate=0.5))
    assert int((by_words[1:] - slow[1:]).abs().max()) <= 1  # the silence in front belongs to no word


def test_one_slow_word_leaves_the_others_as_they_are(model):
    sentence = make_sentence(4)
    first = sentence.parts[0]
    slowed = Sentence((dataclasses.replace(first, rate=0.25), *sentence.parts[1:]))
    before, after = model.durations(sentence), model.durations(slowed)
    inside = torch.tensor([unit.part in (0, 1) for unit in sentence.units()])  # with the pause behind it
    assert after[inside].sum() == pytest.approx(4 * before[inside].sum(), abs=4)
    assert int((after[~inside] - before[~inside]).abs().max()) <= 1


def test_a_pause_of_given_seconds_has_them_at_any_speed(model):
    words = (Word("a", ("AH0",)), Pause(",", 1.5), Word("b", ("B", "IY1")), Pause("_", 0.25), Pause(".", 0.5))
    sentence = Sentence(words)
    for speed in (0.7, 1.0, 2.0):
        durations = model.durations(sentence, speed)
        assert int((durations[[2, 5, 6]] - torch.tensor([120, 20, 40])).abs().max()) <= 1


def test_a_long_pause_is_silent_in_its_middle(model):
    sentence = Sentence((Word("a", ("AH0",)), Pause(","), Word("b", ("B", "IY1")), Pause(".")))
    durations = torch.tensor([4, 6, 400, 4, 4, 4])
    frames = model.frames(sentence, durations)
    assert len(frames) == int(durations.sum())
    assert torch.equal(frames[200, :40], frames[0, :40])
    assert not torch.equal(frames[12, :40], frames[0, :40])


def test_pitch_multiplies_f0_of_all_or_of_one_word(model):
    sentence = make_sentence(2)
    durations = model.durations(sentence)
    usual = model.frames(sentence, durations)[:, LOG_F0]
    higher = model.frames(sentence, durations, pitch=1.2)[:, LOG_F0]
    assert torch.allclose(higher - usual, torch.full_like(usual, math.log(1.2)), atol=1e-5)
    both = Sentence((dataclasses.replace(sentence.parts[0], pitch=1.2), *sentence.parts[1:]))
    one = model.frames(both, durations)[:, LOG_F0]
    assert float((one - usual)[-1]) == pytest.approx(0, abs=1e-5)
    assert float((one - usual).max()) == pytest.approx(math.log(1.2), abs=1e-4)


def test_other_durations_move_the_frames_of_a_phone(model):
    sentence = make_sentence(2)
    durations = model.durations(sentence)
    longer = durations.clone()
    longer[3] += 7
    assert len(model.frames(sentence, longer)) == len(model.frames(sentence, durations)) + 7


def test_a_recorded_track_of_f0_and_voicing_takes_the_place_of_the_predicted_one(model):
    sentence = make_sentence(2)
    durations = model.durations(sentence)
    track = torch.stack([torch.linspace(5, 5.5, int(durations.sum())), torch.ones(int(durations.sum()))], dim=-1)
    assert torch.allclose(model.frames(sentence, durations, track=track)[:, LOG_F0:], track, atol=1e-6)


def test_a_question_is_seen_as_one_and_a_clause_by_its_end():
    kinds = [places(make_sentence(7, end).units()) for end in ".?!"]
    assert torch.equal(kinds[0].symbols[:-1], kinds[1].symbols[:-1])
    assert kinds[0].features.shape == (len(kinds[0].symbols), UNIT_FEATURES)
    assert not torch.equal(kinds[0].features[1], kinds[1].features[1])  # from its first phone on
    assert not torch.equal(kinds[1].features[1], kinds[2].features[1])


def test_frames_know_where_in_their_unit_they_are():
    features = frame_features(torch.tensor([2, 0, 4]))
    assert features.shape == (6, FRAME_FEATURES)
    assert torch.allclose(features[:, 0], torch.tensor([0.25, 0.75, 0.125, 0.375, 0.625, 0.875]))


def test_tensors_and_settings_round_trip_and_may_be_bfloat16(model):
    again = Acoustic.from_tensors(model.settings(), model.tensors())
    sentence = make_sentence(2)
    durations = model.durations(sentence)
    assert torch.equal(again.frames(sentence, durations), model.frames(sentence, durations))
    halves = {name: value.bfloat16() for name, value in model.tensors().items()}
    shorter = Acoustic.from_tensors(model.settings(), halves)
    error = shorter.frames(sentence, durations) - model.frames(sentence, durations)
    assert 0 < float(error.abs().max()) < 0.1


def test_wrong_tensors_settings_and_durations_are_refused(model):
    tensors = model.tensors()
    with pytest.raises(InputError, match=r"duration\.out\.weight"):
        Acoustic.from_tensors(model.settings(), {n: v for n, v in tensors.items() if n != "duration.out.weight"})
    with pytest.raises(InputError, match="extra"):
        Acoustic.from_tensors(model.settings(), {**tensors, "extra": torch.zeros(1)})
    settings = model.settings()
    with pytest.raises(ConfigError, match="heads"):
        Acoustic.from_tensors({**settings, "shape": {**settings["shape"], "heads": 3}}, tensors)
    with pytest.raises(InputError, match="as many durations"):
        model.frames(make_sentence(2), torch.tensor([3, 4]))
