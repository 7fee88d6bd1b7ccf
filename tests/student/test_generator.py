"""A student behind the protocol: the same seed gives the same samples for any chunks, batch and threads."""

import numpy as np
import pytest
import torch

import fastwave
from fastwave import GenerationError, InputError
from fastwave.engine.protocol import Generator
from fastwave.runtime import library
from fastwave.runtime.abi import INSTRUCTION_SETS
from fastwave.sound import audio
from fastwave.student import precision
from fastwave.student.generator import DTYPES, StudentGenerator
from fastwave.student.prior import REACH, Prior, normal
from fastwave.vocoder import periods
from small_student import LAYOUT, frames, saw, small_student

COUNT = 50  # frames: three blocks and a part of one


@pytest.fixture(scope="module")
def generator():
    return StudentGenerator(small_student(), "cpu", "float32")


def made(generator, condition, samples, parts=None, batch=1, **options):
    prepared = generator.prepare(condition, None, batch, samples)
    state = generator.start(batch, condition=prepared)
    pieces = [generator.run(state, part, condition=prepared, **options) for part in parts or [samples]]
    return torch.cat(pieces, dim=1)


def test_it_keeps_the_protocol(generator):
    assert isinstance(generator, Generator)


@pytest.mark.parametrize(("backend", "dtype"), [("cpu", "float32"), ("cpu", "bfloat16"), ("reference", "float32")])
def test_chunks_are_the_whole_bit_for_bit(backend, dtype):
    generator = StudentGenerator(small_student(), backend, dtype)
    samples = COUNT * LAYOUT.hop
    whole = made(generator, frames(COUNT), samples)
    assert float(whole.std()) > 0.01
    for parts in ([1] * 9 + [samples - 9], [1120, 1200, samples - 2320], [700, 0, samples - 700], [samples - 1, 1]):
        assert torch.equal(made(generator, frames(COUNT), samples, parts), whole)


def test_blocks_are_the_whole_sound_computed_at_once(generator):
    """Excitation by the time of each sample, one network over all steps, one overlap of all filters."""
    model, prior, rows = small_student(), Prior(LAYOUT, 8), frames(COUNT).numpy()
    phase = np.pad(periods.running(rows[:, LAYOUT.log_f0], LAYOUT), 1, mode="edge")
    excitation = prior.excitation(rows, phase, normal(3, 1, 0, (COUNT - 1) * LAYOUT.hop + 2 * REACH))
    with torch.no_grad():
        refined = model(torch.from_numpy(excitation)[None], torch.from_numpy(prior.conditions(rows))[None])[0].numpy()
    before = np.concatenate([np.zeros(LAYOUT.hop, np.float32), refined])
    wave, _ = prior.shaped(before, prior.filters(rows[: COUNT - 1]), np.zeros(prior.tail))
    expected = torch.from_numpy(wave[LAYOUT.hop :]).clamp(-1, 1).float()
    prepared = generator.prepare(frames(COUNT), None, 1, 0)
    state = generator.start(1, streams=[1])
    made = generator.run(state, len(expected), seed=3, condition=prepared)[0]
    assert torch.allclose(made, expected, atol=1e-5) and float(expected.abs().max()) > 0.05


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batch_and_threads_change_no_bit(dtype, threads, batch):
    samples = 20 * LAYOUT.hop
    several = torch.stack([frames(COUNT, seed=seed) for seed in range(batch)])
    generator = StudentGenerator(small_student(), "cpu", dtype)
    other = StudentGenerator(small_student(), "cpu", dtype, threads)
    together = made(other, several, samples, [777, samples - 777], batch)
    for row in range(batch):
        prepared = generator.prepare(several[row], None, 1, samples)
        state = generator.start(1, condition=prepared, streams=[row])
        assert torch.equal(generator.run(state, samples, condition=prepared)[0], together[row])


def test_bfloat16_is_near_float32_and_chosen_where_it_is_fast(generator, monkeypatch):
    samples, model = COUNT * LAYOUT.hop, small_student()
    rounded, exact = StudentGenerator(model, "cpu", "bfloat16"), made(generator, frames(COUNT), samples)
    apart = made(rounded, frames(COUNT), samples) - exact
    assert 0 < float(apart.std()) < 2**-7 * float(exact.std())  # each of a few layers rounds to 2^-9
    assert rounded.start(1).history[0].dtype == torch.bfloat16
    assert 0 < precision.cost(generator, rounded) < precision.MOST
    assert set(precision.FAST) < set(INSTRUCTION_SETS)
    for fast, expected in ((library.cpu_features().best, "bfloat16"), ("none", "float32")):
        monkeypatch.setattr(precision, "FAST", (fast,))
        assert StudentGenerator(model, "cpu").dtype == expected
    monkeypatch.setattr(precision, "FAST", (library.cpu_features().best,))
    assert StudentGenerator(model, "reference").dtype == "float32"
    monkeypatch.setattr(precision, "MOST", 1e-4)
    careful = StudentGenerator(model, "cpu")
    assert careful.dtype == "float32" and "more than" in careful.why_dtype
    assert torch.equal(made(careful, frames(COUNT), samples), exact)


def test_streams_at_different_times_run_together_as_alone(generator):
    prepared = generator.prepare(torch.stack([frames(COUNT), frames(COUNT, seed=1)]), None, 2, 0)
    whole = generator.run(generator.start(2), 2000, condition=prepared)
    state = generator.start(2)
    late = state.take([1])
    generator.run(state, 300, condition=prepared)
    state.put([1], late)  # the first stream stands at sample 300, the second at 0
    assert torch.equal(
        generator.run(state, 1000, condition=prepared), torch.stack([whole[0, 300:1300], whole[1, :1000]])
    )


def test_a_run_in_its_own_memory_is_the_same_and_one_that_fails_leaves_the_state(generator, monkeypatch):
    prepared = generator.prepare(frames(COUNT), None, 1, 0)
    state, other = generator.start(1), generator.start(1)
    first = generator.run(state, 1000, condition=prepared)
    assert torch.equal(generator.run(other, 1000, condition=prepared, in_place=True), first)
    broken = small_student()
    with torch.no_grad():
        broken.get_parameter("skip.bias").fill_(torch.inf)
    bad = StudentGenerator(broken)
    with pytest.raises(GenerationError, match="not finite"):
        bad.run(bad.start(1), 10, condition=prepared)
    before, advance = state.take([0]), generator._advance

    def fails_in_the_second_block(part, *arguments):
        if int(part.blocks[0]) == 2:
            raise GenerationError("stopped")
        advance(part, *arguments)

    monkeypatch.setattr(generator, "_advance", fails_in_the_second_block)
    with pytest.raises(GenerationError, match="stopped"):
        generator.run(state, 3000, condition=prepared)
    monkeypatch.undo()
    assert torch.equal(generator.run(state, 500, condition=prepared), generator.run(before, 500, condition=prepared))


def test_seed_stream_and_temperature_matter(generator):
    samples = 20 * LAYOUT.hop
    whole = made(generator, frames(COUNT), samples)
    assert torch.equal(made(generator, frames(COUNT), samples, seed=0), whole)
    assert not torch.equal(made(generator, frames(COUNT), samples, seed=1), whole)
    two = made(generator, torch.stack([frames(COUNT)] * 2), samples, batch=2)
    assert torch.equal(two[:1], whole) and not torch.equal(two[1], two[0])
    still = made(generator, frames(COUNT), samples, temperature=0.0)
    assert torch.equal(still, made(generator, frames(COUNT), samples, temperature=0.0, seed=1))


def test_a_sample_follows_the_frames_up_to_the_one_after_it(generator):
    samples = COUNT * LAYOUT.hop
    whole = made(generator, frames(COUNT), samples)
    changed = frames(COUNT)
    changed[12, 3] += 0.2
    differs = ((made(generator, changed, samples) - whole).abs() > 1e-6)[0].nonzero()  # more than the FFT's rounding
    assert 11 * LAYOUT.hop <= int(differs.min()) < 12 * LAYOUT.hop


def test_generate_and_stream_take_it(generator):
    result = fastwave.generate(generator, condition=frames(COUNT), seed=3)
    assert result.tokens.shape == (1, COUNT * LAYOUT.hop) and result.sample_rate == LAYOUT.sample_rate
    parts = list(fastwave.stream(generator, condition=frames(COUNT), seed=3, chunk=333))
    assert torch.equal(torch.cat([part.tokens for part in parts], dim=1), result.tokens)
    lengths = fastwave.generate(generator, condition=frames(COUNT), samples=[2000, 500], batch=2, seed=3)
    assert torch.equal(lengths.tokens[0], result.tokens[0, :2000])


def test_a_recording_is_read_as_its_frames(generator, tmp_path):
    audio.save(tmp_path / "saw.wav", saw(0.5), LAYOUT.sample_rate)
    read = generator.read_condition(str(tmp_path / "saw.wav"))
    assert read.shape == (50, LAYOUT.width) and generator.length_of(read) == 4000
    assert abs(float(read[25, LAYOUT.log_f0].exp()) - 150) < 2
    np.save(tmp_path / "frames.npy", frames(COUNT).numpy())
    assert torch.equal(generator.read_condition(tmp_path / "frames.npy"), frames(COUNT))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.prepare(None, None, 1, 10), "a student follows frames"),
        (lambda g: g.prepare(frames(5), None, 1, 5 * 80 + 1), "5 frames last 400 samples, but 401 are wanted"),
        (lambda g: g.prepare(frames(5)[:, 1:], None, 1, 10), r"condition must be \[frames, 14\]"),
        (lambda g: g.prepare(frames(5) * torch.nan, None, 1, 10), "NaN"),
        (lambda g: g.prepare(frames(5), 1, 1, 10), "one voice"),
        (lambda g: g.start(1, prime=torch.zeros(1, 5)), "continues no sound"),
        (lambda g: g.run(g.start(1), 5, condition=frames(5), top_k=3), "top_k"),
        (lambda g: StudentGenerator(torch.nn.Linear(1, 1)), "needs a ParallelWaveNet"),
        (lambda g: StudentGenerator(small_student(), dtype="int8"), "float32 or bfloat16, not in 'int8'"),
        (lambda g: StudentGenerator(small_student(), "reference", "bfloat16"), "the reference a student computes in"),
    ],
)
def test_what_it_cannot_do_is_refused(generator, call, message):
    with pytest.raises(InputError, match=message):
        call(generator)
