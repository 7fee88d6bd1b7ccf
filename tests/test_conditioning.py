"""Any stretch of the conditioning can be computed alone, and equals formulas written independently."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastwave import InputError, WaveNet, WaveNetConfig
from fastwave.conditioning import (
    STRETCH,
    Condition,
    excitation,
    linear_interpolation_weight,
    prepare,
    upsample,
    vectors,
)
from tolerances import assert_as_close_as_eager, assert_exact

# method, hop, scales
METHODS = {
    "repeat": ("repeat", 6, ()),
    "repeat-hop1": ("repeat", 1, ()),
    "linear": ("linear", 6, ()),
    "linear-hop1": ("linear", 1, ()),
    "learned-1": ("learned", 1, (1,)),
    "learned-6": ("learned", 6, (6,)),
    "learned-2-3": ("learned", 6, (2, 3)),
    "learned-3-2": ("learned", 6, (3, 2)),
    "learned-1-4-5": ("learned", 20, (1, 4, 5)),
    "learned-2-2-2": ("learned", 8, (2, 2, 2)),
}
BATCH, FRAMES, CHANNELS = 2, 5, 3


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def stage_weights(scales: tuple[int, ...]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Random (weight, bias) of each learned stage."""
    return [
        (random(2 * scale, CHANNELS, CHANNELS, seed=7 + stage), random(CHANNELS, seed=70 + stage))
        for stage, scale in enumerate(scales)
    ]


def stretch(name: str, first: int, count: int) -> torch.Tensor:
    """[BATCH, count, CHANNELS] of the same random frames and weights every time."""
    method, hop, scales = METHODS[name]
    return upsample(random(BATCH, FRAMES, CHANNELS), first, count, hop, method, scales, stage_weights(scales))


# One function of time


@pytest.mark.parametrize("name", METHODS)
def test_any_stretch_equals_the_slice_of_the_whole(name):
    hop = METHODS[name][1]
    begin, end = -3 * hop - 2, (FRAMES + 3) * hop + 5
    whole = stretch(name, begin, end - begin)
    starts = {begin, -hop, -1, 0, 1, hop - 1, hop, 2 * hop + 1, FRAMES * hop - 1, FRAMES * hop, (FRAMES + 2) * hop + 1}
    for start in sorted(starts):
        for count in {1, 2, hop, hop + 1, 2 * hop + 3} | {end - start}:
            count = min(count, end - start)
            assert_exact(stretch(name, start, count), whole[:, start - begin : start - begin + count])


@pytest.mark.parametrize("name", METHODS)
def test_an_empty_stretch_is_empty(name):
    assert stretch(name, 7, 0).shape == (BATCH, 0, CHANNELS)


@pytest.mark.parametrize("name", METHODS)
def test_far_outside_the_frames_nothing_changes_but_the_phase(name):
    hop = METHODS[name][1]
    for first in (-50 * hop, (FRAMES + 50) * hop):
        assert_exact(stretch(name, first, hop), stretch(name, first + hop, hop))


# Values


def frames_at(time: np.ndarray, hop: int) -> np.ndarray:
    """The frame each sample belongs to, edges repeated: [BATCH, len(time), CHANNELS]"""
    index = np.clip(np.floor(time / hop).astype(int), 0, FRAMES - 1)
    return random(BATCH, FRAMES, CHANNELS).numpy()[:, index]


@pytest.mark.parametrize("name", ["repeat", "repeat-hop1"])
def test_repeat_holds_each_frame_for_one_hop(name):
    time = np.arange(-20, 60)
    assert_exact(stretch(name, -20, 80), torch.from_numpy(frames_at(time, METHODS[name][1])))


@pytest.mark.parametrize("name", ["linear", "linear-hop1"])
def test_linear_draws_a_straight_line_from_frame_to_frame(name):
    hop, time = METHODS[name][1], np.arange(-20, 60)
    values = random(BATCH, FRAMES, CHANNELS).numpy()
    expected = np.empty((BATCH, len(time), CHANNELS))
    for row in range(BATCH):
        for channel in range(CHANNELS):
            expected[row, :, channel] = np.interp(time, np.arange(FRAMES) * hop, values[row, :, channel])
    assert_exact(stretch(name, -20, 80), torch.from_numpy(expected))


@pytest.mark.parametrize("name", [name for name in METHODS if name.startswith("learned")])
def test_learned_equals_transposed_convolutions_of_edge_padded_frames(name):
    _, hop, scales = METHODS[name]
    margin = 6  # frames of padding: each stage uses up one neighbour on the right
    x = F.pad(random(BATCH, FRAMES, CHANNELS).transpose(1, 2), (margin, margin), mode="replicate")
    for scale, (weight, bias) in zip(scales, stage_weights(scales), strict=True):
        # conv_transpose1d spreads x[i] over outputs i*scale .. i*scale + 2*scale - 1; ours is read one scale later
        kernel = torch.cat([weight[scale:], weight[:scale]]).permute(1, 2, 0)
        x = F.conv_transpose1d(x, kernel, bias, stride=scale)[:, :, scale : x.shape[2] * scale]
    origin, count = margin * hop, (FRAMES + 2) * hop
    expected = x[:, :, origin - 2 * hop : origin - 2 * hop + count].transpose(1, 2)
    assert_exact(stretch(name, -2 * hop, count), expected)


@pytest.mark.parametrize("scales", [(1,), (6,), (2, 3), (4, 5, 3)])
def test_learned_starts_out_as_linear_interpolation(scales):
    config = WaveNetConfig(
        residual_channels=2, skip_channels=2, dilations=(1,), classes=4, condition_channels=CHANNELS,
        hop=math.prod(scales), upsampling="learned", upsample_scales=scales,
    )  # fmt: skip
    model = WaveNet(config, backend="reference")
    frames, count = random(BATCH, FRAMES, CHANNELS), (FRAMES + 4) * config.hop
    prepared = Condition(BATCH, frames.float())
    learned = vectors(config, dict(model.named_parameters()), prepared, -2 * config.hop, count)
    eager, exact = (upsample(f, -2 * config.hop, count, config.hop, "linear") for f in (frames.float(), frames))
    assert_as_close_as_eager(learned, eager, exact)


def test_the_interpolating_weight_is_two_ramps_on_the_diagonal():
    weight = linear_interpolation_weight(4, 2)
    ramps = [1, 0.75, 0.5, 0.25, 0, 0.25, 0.5, 0.75]
    assert torch.equal(weight, torch.tensor(ramps)[:, None, None] * torch.eye(2))


@pytest.mark.parametrize("name", ["repeat", "linear", "learned-6", "learned-2-3"])
def test_gradients_of_frames_and_weights_are_right(name):
    method, hop, scales = METHODS[name]
    frames = random(1, 3, CHANNELS).requires_grad_()
    weights = [part.requires_grad_() for pair in stage_weights(scales) for part in pair]

    def whole(frames, *weights):
        pairs = list(zip(weights[::2], weights[1::2], strict=True))
        return upsample(frames, -2, 3 * hop + 4, hop, method, scales, pairs)

    assert torch.autograd.gradcheck(whole, (frames, *weights))
    whole(frames, *weights).square().sum().backward()
    assert all((part.grad != 0).any() for part in (frames, *weights))


# What a caller may give

IDS = {"condition_channels": 7, "speaker_channels": 3, "speakers": 4, "hop": 6}
VECTORS = {**IDS, "speakers": 0}
LOCAL = {"condition_channels": 4, "hop": 6}
GLOBAL = {"condition_channels": 3, "speaker_channels": 3}
NEITHER: dict[str, int] = {}
SAMPLES = 25  # five frames of six


def small(fields: dict[str, int]) -> WaveNetConfig:
    return WaveNetConfig(residual_channels=2, skip_channels=2, dilations=(1,), classes=4, **fields)


FRAMES_GIVEN, IDS_GIVEN, VECTORS_GIVEN = torch.zeros(BATCH, 5, 4), torch.tensor([3, 0]), torch.zeros(BATCH, 3)

ACCEPTED = {
    "a-frame-row-each": (IDS, FRAMES_GIVEN, IDS_GIVEN),
    "one-recording-for-all": (IDS, torch.zeros(5, 4), IDS_GIVEN),
    "one-id-for-all": (IDS, FRAMES_GIVEN, 2),
    "an-id-of-32-bits": (IDS, FRAMES_GIVEN, IDS_GIVEN.int()),
    "a-vector-each": (VECTORS, FRAMES_GIVEN, VECTORS_GIVEN),
    "one-vector-for-all": (VECTORS, FRAMES_GIVEN, torch.zeros(3)),
    "frames-alone": (LOCAL, FRAMES_GIVEN, None),
    "more-frames-than-needed": (LOCAL, torch.zeros(BATCH, 9, 4), None),
    "numpy-and-lists": (VECTORS, np.zeros((BATCH, 5, 4)), [0.0, 0.0, 1.0]),
    "a-speaker-alone": (GLOBAL, None, VECTORS_GIVEN),
    "nothing": (NEITHER, None, None),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_conditioning_of_every_accepted_shape_gives_the_vector_c(name):
    fields, condition, speaker = ACCEPTED[name]
    config = small(fields)
    model = WaveNet(config, backend="reference")
    prepared = prepare(config, condition, speaker, BATCH, SAMPLES)
    c = vectors(config, dict(model.named_parameters()), prepared, 0, SAMPLES)
    if not config.condition_channels:
        assert c is None
    else:
        assert c.shape == (BATCH, SAMPLES, config.condition_channels)
        assert c.dtype == torch.float32


def test_c_is_local_features_then_the_speakers_vector():
    config = small(IDS)
    parameters = dict(WaveNet(config, backend="reference").double().named_parameters())
    frames = random(BATCH, 5, 4)
    c = vectors(config, parameters, prepare(config, frames, IDS_GIVEN, BATCH, 25), 4, 10)
    assert torch.equal(c[..., :4], upsample(frames, 4, 10, 6, "repeat"))
    table = parameters["speaker.weight"]
    assert torch.equal(c[..., 4:], torch.stack([table[3], table[0]])[:, None].expand(-1, 10, -1))
    given = random(BATCH, 3)
    c = vectors(small(VECTORS), parameters, prepare(small(VECTORS), frames, given, BATCH, 25), 4, 10)
    assert torch.equal(c[..., 4:], given[:, None].expand(-1, 10, -1))


@pytest.mark.parametrize(("fields", "given"), [(IDS, IDS_GIVEN), (VECTORS, random(BATCH, 3).requires_grad_())])
def test_gradients_of_c_reach_frames_and_speakers(fields, given):
    config = small(fields)
    model = WaveNet(config, backend="reference").double()
    frames = random(BATCH, 5, 4).requires_grad_()
    prepared = prepare(config, frames, given, BATCH, SAMPLES)
    vectors(config, dict(model.named_parameters()), prepared, 0, 30).sum().backward()
    assert torch.equal(frames.grad, torch.full_like(frames, config.hop))  # each frame is held for one hop
    if config.speakers:
        assert model.get_parameter("speaker.weight").grad[:, 0].tolist() == [30, 0, 0, 30]
    else:
        assert torch.equal(given.grad, torch.full_like(given, 30))


@pytest.mark.parametrize("speaker_only", [False, True])
def test_c_follows_the_dtype_of_the_parameters(speaker_only):
    config = small(GLOBAL if speaker_only else VECTORS)
    parameters = dict(WaveNet(config, backend="reference").bfloat16().named_parameters())
    prepared = prepare(config, None if speaker_only else FRAMES_GIVEN.double(), VECTORS_GIVEN, BATCH, SAMPLES)
    assert vectors(config, parameters, prepared, 0, 8).dtype == torch.bfloat16


REFUSED = {
    "no-frames": (LOCAL, None, None, r"\[frames, 4\] or \[2, frames, 4\], 6 samples a frame"),
    "unwanted-frames": (NEITHER, FRAMES_GIVEN, None, "takes no local features"),
    "unwanted-frames-beside-a-speaker": (GLOBAL, FRAMES_GIVEN, VECTORS_GIVEN, "takes no local features"),
    "wrong-width": (LOCAL, torch.zeros(BATCH, 5, 3), None, r"\[2, frames, 4\], got \[2, 5, 3\]"),
    "channels-before-time": (LOCAL, torch.zeros(BATCH, 4, 5), None, r"\[2, frames, 4\], got \[2, 4, 5\]"),
    "wrong-batch": (LOCAL, torch.zeros(3, 5, 4), None, r"\[2, frames, 4\], got \[3, 5, 4\]"),
    "one-dimension": (LOCAL, torch.zeros(4), None, r"\[frames, 4\] or \[2, frames, 4\], got \[4\]"),
    "four-dimensions": (LOCAL, torch.zeros(1, BATCH, 5, 4), None, r"got \[1, 2, 5, 4\]"),
    "too-short": (LOCAL, torch.zeros(BATCH, 4, 4), None, "4 frames of 6 samples, but 25 samples.*at least 5"),
    "empty": (LOCAL, torch.zeros(BATCH, 0, 4), None, "0 frames"),
    "integer-frames": (LOCAL, torch.zeros(BATCH, 5, 4, dtype=torch.int64), None, "floating point, got torch.int64"),
    "nan-frames": (LOCAL, torch.full((BATCH, 5, 4), math.nan), None, "NaN or infinity"),
    "infinite-frames": (LOCAL, torch.full((BATCH, 5, 4), -math.inf), None, "NaN or infinity"),
    "not-a-tensor": (LOCAL, object(), None, "condition cannot be read as a tensor"),
    "a-file-of-unknown-features": (
        LOCAL,
        "loud.wav",
        None,
        "loud.wav: this checkpoint does not say",
    ),
    "an-array-that-is-not-there": (LOCAL, "loud.npy", None, "cannot read loud.npy"),
    "ragged": (LOCAL, [[0.0], [0.0, 1.0]], None, "condition cannot be read as a tensor"),
    "no-id": (IDS, FRAMES_GIVEN, None, "an id 0..3"),
    "no-vector": (VECTORS, FRAMES_GIVEN, None, "a vector of 3"),
    "unwanted-speaker": (LOCAL, FRAMES_GIVEN, 1, "knows no speakers"),
    "id-too-large": (IDS, FRAMES_GIVEN, 4, r"ids must be 0..3, got \[4, 4\]"),
    "id-negative": (IDS, FRAMES_GIVEN, torch.tensor([0, -1]), r"ids must be 0..3, got \[0, -1\]"),
    "id-fractional": (IDS, FRAMES_GIVEN, torch.tensor([0.0, 1.0]), "integer id, or 2 of them, got .*float32"),
    "id-boolean": (IDS, FRAMES_GIVEN, True, "integer id"),
    "ids-of-another-batch": (IDS, FRAMES_GIVEN, torch.tensor([0, 1, 2]), r"2 of them, got \[3\]"),
    "vector-too-short": (VECTORS, FRAMES_GIVEN, torch.zeros(2), r"\[3\] or \[2, 3\], got \[2\]"),
    "vectors-of-another-batch": (VECTORS, FRAMES_GIVEN, torch.zeros(3, 3), r"\[3\] or \[2, 3\], got \[3, 3\]"),
    "id-for-a-vector": (VECTORS, FRAMES_GIVEN, 1, r"float vector \[3\]"),
    "integer-vector": (VECTORS, FRAMES_GIVEN, torch.zeros(3, dtype=torch.int64), "float vector"),
    "nan-vector": (VECTORS, FRAMES_GIVEN, torch.full((3,), math.nan), "NaN or infinity"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_conditioning_is_refused_and_told_what_is_expected(name):
    fields, condition, speaker, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        prepare(small(fields), condition, speaker, BATCH, SAMPLES)


@pytest.mark.parametrize(("samples", "frames"), [(0, 1), (1, 1), (6, 1), (7, 2), (12, 2), (25, 5), (30, 5)])
def test_frames_must_begin_before_the_last_sample_and_no_more(samples, frames):
    prepare(small(LOCAL), torch.zeros(frames, 4), None, BATCH, samples)
    with pytest.raises(InputError, match=f"at least {frames} frames"):
        prepare(small(LOCAL), torch.zeros(frames - 1, 4), None, BATCH, samples)


def test_prepared_conditioning_passes_and_is_checked_for_batch_and_length():
    config = small(IDS)
    prepared = prepare(config, FRAMES_GIVEN, IDS_GIVEN, BATCH, SAMPLES)
    assert prepare(config, prepared, None, BATCH, 30) is prepared
    for speaker, batch, samples in ((None, 3, 25), (1, BATCH, 25), (None, BATCH, 31)):
        with pytest.raises(InputError):
            prepare(config, prepared, speaker, batch, samples)


EXCITED = {"excitation_channels": 3}
REFUSED_EXCITATION = {
    "none": (EXCITED, None, r"takes an excitation: give excitation= with shape \[samples, 3\] or \[2, samples, 3\]"),
    "unwanted": (NEITHER, torch.zeros(25, 3), "takes no excitation .*excitation_channels is 0.*leave excitation out"),
    "too-short": (EXCITED, torch.zeros(24, 3), "excitation has 24 samples, but 25 are needed, counted from sample 0"),
    "too-wide": (EXCITED, torch.zeros(25, 4), r"\[samples, 3\] or \[2, samples, 3\], got \[25, 4\]"),
    "of-another-batch": (EXCITED, torch.zeros(3, 25, 3), r"got \[3, 25, 3\]"),
    "of-one-dimension": (EXCITED, torch.zeros(25), r"got \[25\]"),
    "of-integers": (EXCITED, torch.zeros(25, 3, dtype=torch.int64), "floating point, got torch.int64"),
    "not-finite": (EXCITED, torch.full((25, 3), math.nan), "excitation contains NaN or infinity"),
    "no-tensor": (EXCITED, "sine.npy", "excitation cannot be read as a tensor"),
}


@pytest.mark.parametrize("name", REFUSED_EXCITATION)
def test_another_excitation_is_refused_with_what_is_expected(name):
    fields, values, message = REFUSED_EXCITATION[name]
    with pytest.raises(InputError, match=message):
        prepare(small(fields), None, None, BATCH, SAMPLES, values)


def test_prepared_excitation_is_checked_for_model_batch_and_length():
    config = small(EXCITED)
    prepared = prepare(config, None, None, BATCH, SAMPLES, torch.zeros(30, 3))
    assert prepare(config, prepared, None, BATCH, 30) is prepared
    for model, batch, samples, values, message in (
        (config, 3, 25, None, "has 2 streams, 3 are needed"),
        (config, BATCH, 31, None, "30 samples, but 31 are needed"),
        (config, BATCH, 25, torch.zeros(30, 3), "holds the excitation already"),
        (small(NEITHER), BATCH, 25, None, "prepared for another model"),
    ):
        with pytest.raises(InputError, match=message):
            prepare(model, prepared, None, batch, samples, values)


def test_an_excitation_is_zero_before_sample_0():
    values = random(BATCH, 30, 3)
    prepared = prepare(small(EXCITED), None, None, BATCH, SAMPLES, values)
    assert torch.equal(excitation(prepared, values, 4, 9), values[:, 4:13])
    across = excitation(prepared, values, -5, 9)
    assert not across[:, :5].any() and torch.equal(across[:, 5:], values[:, :4])
    assert excitation(prepared, values, -9, 4).shape == (BATCH, 4, 3) and not excitation(prepared, values, -9, 4).any()
    assert excitation(prepared, values, 7, 0).shape == (BATCH, 0, 3)
    assert excitation(Condition(BATCH), values, 0, 5) is None


@pytest.mark.parametrize("rows", [None, BATCH], ids=["one for all streams", "one each"])
def test_an_excitation_function_is_asked_for_whole_stretches_once_and_equals_its_tensor(rows):
    whole = random(*([rows] if rows else []), 4 * STRETCH, 3)
    asked = []

    def function(first, count):
        asked.append((first, count))
        return whole[..., first : first + count, :]

    computed = prepare(small(EXCITED), None, None, BATCH, 10**9, function)
    plain = prepare(small(EXCITED), None, None, BATCH, 4 * STRETCH, whole)
    like = whole.float()
    for first, count in ((-3, 10), (0, 5), (STRETCH - 1, 2), (STRETCH + 7, STRETCH), (5, 0), (-9, 3), (2048, 1024)):
        assert torch.equal(excitation(computed, like, first, count), excitation(plain, like, first, count))
        picked, expected = (excitation(each.rows([1, 0, 1]), like, first, count) for each in (computed, plain))
        assert torch.equal(picked, expected)
    assert asked == [(0, STRETCH), (STRETCH, STRETCH), (2 * STRETCH, STRETCH)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(5, 3), r"samples 0 to 1023, which its function returned, has 5 samples, but 1024 are needed"),
        (torch.zeros(STRETCH, 2), r"which its function returned, must have shape \[samples, 3\] .* got \[1024, 2\]"),
        (torch.full((STRETCH, 3), math.inf), "which its function returned, contains NaN or infinity"),
        (None, "which its function returned, cannot be read as a tensor"),
    ],
)
def test_what_an_excitation_function_returns_is_checked(values, message):
    prepared = prepare(small(EXCITED), None, None, BATCH, SAMPLES, lambda first, count: values)
    with pytest.raises(InputError, match=message):
        excitation(prepared, torch.zeros(1), 0, 10)


def test_rows_pick_the_conditioning_of_some_streams():
    prepared = prepare(small(IDS), random(3, 5, 4), torch.tensor([0, 1, 2]), 3, SAMPLES)
    picked = prepared.rows([2, 0, 2])
    assert picked.batch == 3
    assert torch.equal(picked.frames, prepared.frames[[2, 0, 2]])
    assert picked.speaker.tolist() == [2, 0, 2]
    bare = Condition(3).rows([1])
    assert (bare.batch, bare.frames, bare.speaker) == (1, None, None)
