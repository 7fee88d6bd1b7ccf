"""A Gaussian WaveNet distilled into a flow: what is normal given what, how the teacher is asked, what comes of it."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

import fastwave
from fastwave import ConfigError, InputError
from fastwave.cli.main import main
from fastwave.sound import audio
from fastwave.student import data, objectives
from fastwave.student.config import StudentConfig, dithered
from fastwave.student.distillation import DistillationTask, Weights, student_of
from fastwave.student.generator import StudentGenerator
from fastwave.student.prior import REACH, normal
from fastwave.student.training import distill
from fastwave.training.settings import Settings
from fastwave.vocoder import analysis
from fastwave.vocoder.frame_task import Place
from small_runs import verbs_of
from small_student import FLOW, LAYOUT, frames, saw, small_student

SHORT = {"window": 800, "warmup": 2, "validation_targets": 1600, "sample_seconds": 0.2, "seed": 3}


def small_teacher(**changes):
    torch.manual_seed(1)
    values = {
        "residual_channels": 8, "skip_channels": 8, "dilations": (1, 2, 4), "codec": "pcm", "classes": 0,
        "output": "gaussian", "sample_rate": LAYOUT.sample_rate, "condition_channels": LAYOUT.bands,
        "hop": LAYOUT.hop, "upsampling": "linear", "normalize": "loudness",
        "features": {"kind": "mel", "bands": LAYOUT.bands, "window": LAYOUT.window},
    }  # fmt: skip
    teacher = fastwave.WaveNet(fastwave.WaveNetConfig(**{**values, **changes}))
    if teacher.config.output != "gaussian":
        return teacher
    with torch.no_grad():
        teacher.get_parameter("head.1.weight").normal_(0.0, 0.05)
        teacher.get_parameter("head.1.bias").copy_(torch.tensor([0.0, -4.0]))
    return teacher


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saws")
    for index, f0 in enumerate((110.0, 150.0, 200.0)):
        audio.save(folder / f"{index}.wav", saw(1.0, f0=f0), LAYOUT.sample_rate)
    return folder


@pytest.fixture(scope="module")
def prepared(recordings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    data.prepare(recordings, folder, LAYOUT, held_out=0.3, dither=FLOW.dither)
    return data.StudentData(folder)


def task_of(prepared, settings=None, teacher=None, **options):
    settings = settings or Settings(steps=9, **SHORT)
    return DistillationTask(prepared, FLOW, settings, teacher=teacher or small_teacher(), **options)


def drawn(task, model, batch):
    return task.drawn(model, batch, model.skip_sum(batch.excitation[:, 0], batch.conditions))


# A flow


def test_each_sample_of_the_wave_is_normal_after_the_noise_before_it(prepared):
    """By autograd: no sample depends on later noise, and on its own by the scale that the KL is computed with, so that
    the log-determinant is the sum of ln scale. What depends on the noise before is the mean.
    """
    task = task_of(prepared, Settings(steps=1, **{**SHORT, "window": 160}))
    model = small_student(FLOW).double()
    model.backend = "reference"
    batch, first = task.read([Place(60, 0, False)]), 60 - task.ringing
    rows, _ = prepared.rows(first, task.ringing + task.window + 1)
    filters = torch.from_numpy(task.prior.filters(rows))[None]  # not rounded to float32
    assert torch.allclose(filters.to(torch.complex64), batch.filters)
    batch = batch._replace(conditions=batch.conditions.double(), filters=filters, wave=batch.wave.double())
    pulses, noise, before = batch.excitation[0, 0].double()
    task._window = task._window.double()
    squeeze, window = FLOW.squeeze, batch.wave.shape[1]
    assert torch.equal(before[squeeze:], noise[:-squeeze])

    def wave(z):
        late = torch.cat([before[:squeeze], z[:-squeeze]])
        excitation = torch.stack([pulses, z, late])[None, None]
        made, mean, log_scale = drawn(task, model, batch._replace(excitation=excitation))
        return made[0, -window:], mean[0, -window:], log_scale[0, -window:]

    jacobian = torch.autograd.functional.jacobian(lambda z: wave(z)[0], noise)
    of_mean = torch.autograd.functional.jacobian(lambda z: wave(z)[1], noise)
    made, mean, log_scale = wave(noise)
    # the wave ends one hop before its excitation
    times = torch.arange(len(noise) - LAYOUT.hop - window, len(noise) - LAYOUT.hop)
    later = torch.arange(len(noise)) > times[:, None]
    assert float(jacobian[later].abs().max()) < 1e-12 * float(jacobian.abs().max())
    own = jacobian[torch.arange(window), times]
    assert torch.allclose(own, log_scale.exp(), rtol=1e-9, atol=1e-15) and float(log_scale.detach().std()) > 0.05
    assert float(of_mean[torch.arange(window), times].abs().max()) < 1e-12
    assert torch.allclose(made, mean + log_scale.exp() * noise[times])
    in_step = jacobian[1, times[0]]  # of two samples of one step, the second depends on the first
    assert int(times[0]) % squeeze == 0 and abs(float(in_step)) > 1e-6


def test_the_window_is_trained_as_it_is_generated(prepared):
    """The same noise and frames through the generator: the window, and before it all that the teacher hears."""
    teacher = small_teacher(dilations=(1, 2, 512))
    task, model = task_of(prepared, teacher=teacher), small_student(FLOW)
    first, count = 60, task.context + task.window + 1
    with torch.no_grad():
        batch = task.read([Place(first, 0, False)])
        made, _, _ = drawn(task, model, batch)
    begin = first - task.context
    rows, _ = prepared.rows(begin, count + 1)
    generator = StudentGenerator(model, dtype="float32")
    condition = generator.prepare(torch.from_numpy(rows), None, 1, 0)
    phase = prepared.rows(begin, count + 1)[1]
    condition = dataclasses.replace(condition, phase=phase[None])  # that of the whole recording goes on
    state = generator.start(1, condition=condition)
    whole = generator.run(state, count * LAYOUT.hop, seed=SHORT["seed"], condition=condition)[0]
    window = batch.wave.shape[1] + teacher.config.receptive_field
    end = (task.context + task.window) * LAYOUT.hop
    assert torch.allclose(made[0, -window:], whole[end - window : end], rtol=1e-4, atol=1e-7)
    assert float(made[:, -window:].std()) > 1e-3


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_chunks_of_a_flow_are_the_whole_bit_for_bit(backend):
    generator, samples = StudentGenerator(small_student(FLOW), backend), 40 * LAYOUT.hop
    condition = generator.prepare(frames(40), None, 1, samples)
    whole = generator.run(generator.start(1), samples, condition=condition)
    assert float(whole.std()) > 0.01
    for parts in ([1] * 9 + [samples - 9], [1120, 1200, samples - 2320]):
        state = generator.start(1)
        assert torch.equal(torch.cat([generator.run(state, n, condition=condition) for n in parts], dim=1), whole)


@pytest.mark.parametrize("threads", [1, 3])
def test_batch_threads_and_seed_of_a_flow(threads):
    samples, several = 20 * LAYOUT.hop, torch.stack([frames(30, seed=seed) for seed in range(4)])
    model = small_student(FLOW)
    generator, alone = StudentGenerator(model, "cpu", threads=threads), StudentGenerator(model)
    together = generator.run(generator.start(4), samples, condition=generator.prepare(several, None, 4, samples))
    for row in range(4):
        condition = alone.prepare(several[row], None, 1, samples)
        made = alone.run(alone.start(1, streams=[row]), samples, condition=condition)
        assert torch.equal(made[0], together[row])
        assert not torch.equal(alone.run(alone.start(1), samples, condition=condition, seed=1), made)
    condition = alone.prepare(several[0], None, 1, samples)
    still = [alone.run(alone.start(1), samples, condition=condition, seed=s, temperature=0.0) for s in (0, 1)]
    assert torch.equal(*still) and float(still[0].std()) > 1e-3  # pulses and means


# The teacher


def test_the_teacher_is_asked_as_it_was_trained(prepared):
    """With a recording in place of the student's sound, its judgement gives the very loss of its own training."""
    task, first = task_of(prepared), 60
    batch = task.read([Place(first, 0, False)])
    past = task.ringing + task.window  # hops of what `drawn` gives
    wave = torch.from_numpy(prepared.wave(first + task.window - past, past))[None]
    rows = torch.from_numpy(prepared.rows(first + task.window - past, past + 1)[0][:, : LAYOUT.bands])
    window = batch.wave.shape[1]
    assert torch.equal(wave[:, -window:], batch.wave)
    with torch.no_grad():
        judged = task.judged(wave, batch)
        weight = torch.full((1, window), 1 / window)
        loss = small_teacher().loss(wave, rows, weight=weight)
    apart = (batch.wave - judged[..., 0]) * torch.exp(-judged[..., 1])
    nats = 0.5 * math.log(2 * math.pi) + judged[..., 1] + 0.5 * apart**2
    assert float(nats.mean()) == pytest.approx(float(loss), rel=1e-5)
    assert float(judged[..., 1].std()) > 1e-3


def test_both_parts_of_the_loss_have_their_weights_and_the_control_asks_no_teacher(prepared, monkeypatch):
    model = small_student(FLOW)
    batch, targets = task_of(prepared).batch(2, slice(0, 1))
    losses = {}
    with torch.no_grad():
        for weights in ((1.0, 2.0), (1.0, 0.0), (0.0, 1.0)):
            losses[weights] = float(task_of(prepared, weights=Weights(*weights)).loss(model, batch, targets))
        task = task_of(prepared)
        made, mean, log_scale = (each[:, -targets:] for each in drawn(task, model, batch))
        power = float(objectives.power_distance(batch.wave, made))
        judged = task.judged(drawn(task, model, batch)[0], batch).unbind(-1)
        kl = float(objectives.regularised_kl(mean, log_scale, *judged).mean())
        monkeypatch.setattr(fastwave.WaveNet, "forward", None)
        assert float(task_of(prepared, weights=Weights(0, 1)).loss(model, batch, targets)) == losses[0.0, 1.0]
    assert losses[0.0, 1.0] == pytest.approx(power, rel=1e-5)
    assert losses[1.0, 0.0] == pytest.approx(kl, rel=1e-5)
    assert losses[1.0, 2.0] == pytest.approx(kl + 2 * power, rel=1e-5)


def test_only_the_student_learns_and_its_gradient_comes_through_the_teacher(prepared):
    task, model = task_of(prepared, weights=Weights(1, 0)), small_student(FLOW)
    batch, targets = task.batch(0, slice(0, 1))
    task.loss(model, batch, targets).backward()
    assert all(parameter.grad is None for parameter in task.teacher.parameters())
    through = model.get_parameter("skip.bias").grad.clone()
    model.zero_grad()
    teach = task.judged
    task.judged = lambda made, batch: teach(made.detach(), batch)
    task.loss(model, batch, targets).backward()
    assert float((through - model.get_parameter("skip.bias").grad).norm()) > 1e-3 * float(through.norm())


def test_distilling_brings_a_student_nearer_to_its_teacher(recordings, tmp_path):
    def nats(student):
        task.weights = Weights(1, 0)
        with torch.no_grad():
            return float(task.loss(student, batch, targets))

    distill(small_teacher(), recordings, tmp_path / "run", steps=25, held_out=0.3, average=0.5, **SHORT)
    student = fastwave.load(tmp_path / "run")
    config = student_of(small_teacher())
    assert student.config == config and config.flow and config.frames == LAYOUT
    task = DistillationTask(
        data.StudentData(tmp_path / "run" / "data"), config, Settings(steps=1, **SHORT), teacher=small_teacher()
    )
    batch, targets = task.batch(0, slice(0, 1))
    assert nats(student) < 0.7 * nats(task.build())
    with pytest.raises(fastwave.FastwaveError, match="teacher was"):
        distill(small_teacher(dilations=(1, 2)), recordings, tmp_path / "run", steps=26, **SHORT)
    with pytest.raises(InputError, match="not of a student"):
        fastwave.student.training.train(recordings, tmp_path / "run", steps=1)


def test_the_command_distils_and_its_result_is_taken_as_any(recordings, tmp_path, capsys):
    small_teacher().save_pretrained(tmp_path / "teacher")
    run, one = tmp_path / "run", str(recordings / "0.wav")
    options = ["--steps", "1", "--held-out", "0.3", "--kl", "0.5", "--power", "1", "--dither", "1e-3"]
    options += ["--window", "800", "--sample-seconds", "0.2", "--validation-targets", "800"]
    assert main(["distill", str(tmp_path / "teacher"), str(recordings), "--out", str(run), *options]) == 0
    said, shown = capsys.readouterr()
    assert "loss" in said and "fastwave generate" in said and "--condition" in said
    assert "step 1 of 1" in shown and verbs_of(shown) == {"distill"}
    saved = json.loads((run / "config.json").read_text())
    assert saved["kind"] == "student" and saved["flow"] is True and saved["dither"] == 1e-3
    ran = json.loads((run / "run.json").read_text())["config"]
    assert ran["kl"] == 0.5 and ran["power"] == 1
    assert main(["generate", str(run), "--condition", one, "-o", str(tmp_path / "out.wav")]) == 0
    assert main(["copy", str(run), one, "-o", str(tmp_path / "copy.wav")]) == 0
    assert len(audio.load(tmp_path / "copy.wav")[0]) == LAYOUT.sample_rate
    capsys.readouterr()
    assert main(["info", str(run)]) == 0
    assert "distilled from a Gaussian WaveNet" in capsys.readouterr().out


def test_frames_of_a_recording_are_those_of_its_dithered_copy(prepared, recordings):
    wave = np.zeros(4000, np.float32)
    noise = dithered(wave, FLOW.dither)
    assert noise.std() == pytest.approx(FLOW.dither, rel=0.05) and np.array_equal(dithered(wave, 0.0), wave)
    rows = torch.cat(list(FLOW.features.from_sound([wave[:1500], wave[1500:]], 8000, 80)))
    assert np.array_equal(rows.numpy(), analysis.frames(noise, layout=LAYOUT))
    assert np.array_equal(noise, np.float32(FLOW.dither) * normal(0, 0, 0, 4000))
    made = StudentGenerator(small_student(FLOW)).read_condition(str(recordings / "0.wav"))
    plain = StudentGenerator(small_student(dataclasses.replace(FLOW, dither=0.0))).read_condition(
        str(recordings / "0.wav")
    )
    assert made.shape == plain.shape and not torch.equal(made, plain)
    assert prepared.dither == FLOW.dither
    with pytest.raises(InputError, match="prepare them again"):
        DistillationTask(
            prepared, dataclasses.replace(FLOW, dither=0.0), Settings(steps=1, **SHORT), teacher=small_teacher()
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "mixture-of-logistics", "mixtures": 2}, "only one that draws from a normal distribution"),
        ({"features": None}, "follows no frames"),
        ({"features": {"kind": "array", "channels": LAYOUT.bands}}, "frames of kind 'array'"),
        ({"features": {"kind": "mel", "bands": LAYOUT.bands, "window": LAYOUT.window, "low": 80.0}}, "their own low"),
        ({"condition_channels": LAYOUT.bands + 2, "speaker_channels": 2}, "a speaker or an excitation"),
    ],
)
def test_a_teacher_that_cannot_be_distilled_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        student_of(small_teacher(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow": 1}, "flow is true or false"),
        ({"squeeze": 10, "residual_channels": 19}, "squeeze is at most"),
        ({"squeeze": 40, "residual_channels": 80}, f"at most {REACH}"),
        ({"dither": 0.1}, "dither is a number"),
        ({"dither": True}, "dither is a number"),
    ],
)
def test_a_flow_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        StudentConfig.from_dict({**FLOW.to_dict(), **changes})


def test_weights_without_an_objective_are_refused():
    with pytest.raises(ConfigError, match="nothing to learn"):
        Weights(0, 0)
    with pytest.raises(ConfigError, match="weight of kl"):
        Weights(-1, 1)


def test_what_a_direct_student_saves_has_not_changed():
    assert FLOW.to_dict().keys() - dataclasses.replace(FLOW, flow=False, dither=0.0).to_dict().keys() == {
        "flow", "dither",
    }  # fmt: skip
    assert StudentConfig.from_dict(json.loads(json.dumps(FLOW.to_dict()))) == FLOW
