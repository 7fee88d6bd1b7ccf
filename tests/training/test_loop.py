"""Training a WaveNet: schedules, refusals, and everything that a run survives without losing a bit."""

import dataclasses
import errno
import itertools
import json
import math
import os
import signal

import pytest
import torch

from fastwave import CheckpointError, InputError, TrainingError, WaveNet, checkpoint, generate, score
from fastwave.data.windows import Windows
from fastwave.distributions import negative_log_likelihood
from fastwave.training import loop, progress
from fastwave.training.settings import Settings
from fastwave.training.wavenet import WaveNetTask
from small_runs import lines_of, make_config, make_data, make_settings, train_wavenet, weights_of


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("train"))


def losses_of(run):
    return [line["bits"] for line in lines_of(run, "train")]


def test_a_run_learns_and_writes_a_model_a_log_and_a_report(data, tmp_path):
    bits = train_wavenet(data, tmp_path, make_config(), make_settings(steps=60, sample_every=30))
    losses = losses_of(tmp_path)
    assert losses[0] == pytest.approx(5, abs=0.1)  # 32 classes, nothing known
    assert bits < losses[0] - 1
    assert bits == lines_of(tmp_path, "validation")[-1]["bits"]
    model = WaveNet.from_pretrained(tmp_path)
    assert generate(model, samples=50).tokens.shape == (1, 50)
    assert (tmp_path / "samples/step-00000030-from-silence-t1.0.wav").exists()
    assert "held-out" in (tmp_path / "report.html").read_text()
    for line in lines_of(tmp_path, "train"):
        assert line["samples_per_second"] > 0
        assert 0 <= line["waiting"] <= 1


def test_tensorboard_gets_curves_sounds_and_spectrograms(data, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is in the train extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_wavenet(data, tmp_path, make_config(), make_settings(sample_every=6, sample_seconds=0.1, tensorboard=True))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = events.Tags()
    assert {"train/bits", "validation/bits"} <= set(tags["scalars"])
    assert tags["audio"] == ["sample"]
    assert tags["images"] == ["spectrogram"]
    logged = [line["bits"] for line in lines_of(tmp_path, "validation")]
    assert [each.value for each in events.Scalars("validation/bits")] == pytest.approx(logged, rel=1e-6)


def test_the_end_of_a_run_is_judged_on_more_of_the_held_out_data_than_its_curve(data, tmp_path):
    few = {"validation_targets": 64, "validate_every": 1000}
    bits = train_wavenet(data, tmp_path / "few", make_config(), make_settings(steps=60, **few))
    # a twelfth of 60 steps of 4 windows of 64 targets
    some = train_wavenet(data, tmp_path / "some", make_config(), make_settings(steps=60, validation_targets=1280))
    curve = lines_of(tmp_path / "few", "validation")[-1]["bits"]
    assert bits == some == lines_of(tmp_path / "some", "validation")[-1]["bits"] != curve
    assert lines_of(tmp_path / "few", "end")[-1]["bits"] == bits
    assert f"{bits:.3f} bits a sample on held-out data" in (tmp_path / "few/report.html").read_text()


def test_validation_is_the_score_of_the_held_out_files(data, tmp_path):
    bits = train_wavenet(data, tmp_path, make_config(), make_settings(validation_targets=1 << 20))
    held_out = [number for number, file in enumerate(data.files) if file["held_out_samples"]]
    assert len(held_out) == 1
    tokens = data.tokens(held_out[0], 0, data.files[held_out[0]]["samples"])
    # another path to the same number: the engine, fed the whole file
    assert bits == pytest.approx(score(str(tmp_path), torch.from_numpy(tokens.astype("int64"))), abs=1e-4)


def test_a_stopped_run_resumes_bit_identical(data, tmp_path):
    config = make_config()
    train_wavenet(data, tmp_path / "whole", config, make_settings(schedule="constant"))
    train_wavenet(data, tmp_path / "parts", config, make_settings(schedule="constant", steps=5))
    train_wavenet(data, tmp_path / "parts", config, make_settings(schedule="constant"))
    assert weights_of(tmp_path / "parts", 12) == weights_of(tmp_path / "whole", 12)
    assert [line["step"] for line in lines_of(tmp_path / "parts", "resume")] == [5]
    # and after the last step there is nothing left to do
    before = (tmp_path / "whole/model.safetensors").read_bytes()
    train_wavenet(data, tmp_path / "whole", config, make_settings(schedule="constant"))
    assert (tmp_path / "whole/model.safetensors").read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_finishes_and_saves_the_step(data, tmp_path, monkeypatch, capsys, number):
    right = loop.Loop._one_step

    def interrupted(self):
        right(self)
        if self.step == 6:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(loop.Loop, "_one_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_wavenet(data, tmp_path / "run", make_config(), make_settings())
    assert "stopped at step 6, which is saved" in capsys.readouterr().err
    monkeypatch.undo()
    train_wavenet(data, tmp_path / "run", make_config(), make_settings())
    assert [line["step"] for line in lines_of(tmp_path / "run", "resume")] == [6]
    train_wavenet(data, tmp_path / "whole", make_config(), make_settings())
    assert weights_of(tmp_path / "run", 12) == weights_of(tmp_path / "whole", 12)


def test_a_damaged_checkpoint_is_passed_over_and_reported(data, tmp_path, capsys):
    train_wavenet(data, tmp_path, make_config(), make_settings())
    exact = weights_of(tmp_path, 12)
    newest = tmp_path / "checkpoints/step-00000012.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    train_wavenet(data, tmp_path, make_config(), make_settings())
    assert "passed over step-00000012" in capsys.readouterr().err
    assert lines_of(tmp_path, "resume")[0]["step"] == 8
    assert weights_of(tmp_path, 12) == exact


def test_copies_that_a_user_keeps_are_neither_loaded_nor_removed(data, tmp_path):
    train_wavenet(data, tmp_path, make_config(), make_settings(steps=8))
    folder = tmp_path / "checkpoints"
    for name in ("step-best.safetensors", "step-00000000 (copy).safetensors"):
        (folder / name).write_bytes((folder / "step-00000004.safetensors").read_bytes())
    train_wavenet(data, tmp_path, make_config(), make_settings())
    assert [line["step"] for line in lines_of(tmp_path, "resume")] == [8]
    assert {"step-best.safetensors", "step-00000000 (copy).safetensors"} <= {path.name for path in folder.iterdir()}


def test_resume_reports_that_the_data_have_changed(data, tmp_path, capsys):
    train_wavenet(data, tmp_path / "run", make_config(), make_settings(steps=4))
    other = make_data(tmp_path, held_out=0.5)
    train_wavenet(other, tmp_path / "run", make_config(), make_settings(), other_data=True)
    assert "the data have changed since the last checkpoint" in capsys.readouterr().err
    assert "data" in lines_of(tmp_path / "run", "resume")[0]
    train_wavenet(other, tmp_path / "run", make_config(), make_settings(steps=14))
    assert "the data have changed" not in capsys.readouterr().err


def test_a_run_without_a_readable_checkpoint_is_refused(data, tmp_path):
    train_wavenet(data, tmp_path, make_config(), make_settings())
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read"):
        train_wavenet(data, tmp_path, make_config(), make_settings())


def test_micro_batches_change_memory_and_not_the_result(data, tmp_path):
    config = make_config()
    for size in (1, 3, 4):
        train_wavenet(data, tmp_path / str(size), config, make_settings(micro_batch=size))
    one, three, four = (losses_of(tmp_path / str(size)) for size in (1, 3, 4))
    assert one == pytest.approx(four, rel=1e-4)
    assert three == pytest.approx(four, rel=1e-4)


def test_the_loss_of_a_step_is_that_of_its_windows(data, tmp_path):
    """Written out: silence before a file, a field of context, and only targets that a file has."""
    config, settings = make_config(), make_settings(steps=1, batch=6, window=900)
    train_wavenet(data, tmp_path, config, settings)
    torch.manual_seed(settings.seed)
    model = WaveNet(config, "reference")
    windows = Windows(data, config, settings.window, settings.seed)
    nats = count = 0
    with torch.no_grad():
        for place in windows.places(0, settings.batch):
            stored = torch.from_numpy(data.tokens(place.file, 0, place.last).astype("int64"))
            past = torch.cat([torch.full((config.receptive_field,), config.codec_object.silence), stored])[None]
            out = model(past[:, :-1])
            each = negative_log_likelihood(config.output, out, past[:, 1:])[0, config.receptive_field - 1 :]
            nats += float(each[place.first :].double().sum())
            count += place.last - place.first
    assert losses_of(tmp_path)[0] == pytest.approx(nats / count / math.log(2), rel=1e-5)


# What goes wrong


def poison(monkeypatch, steps, spoil):
    """Spoil the loss of the steps in `steps`; calls count micro-batches, one a step here."""
    calls = []
    right = WaveNetTask.loss

    def wrong(*arguments):
        value = right(*arguments)
        if value.requires_grad:
            calls.append(1)
            if len(calls) - 1 in steps:
                return spoil(value)
        return value

    monkeypatch.setattr(WaveNetTask, "loss", wrong)


def test_a_step_with_a_bad_gradient_is_skipped_counted_and_never_saved(data, tmp_path, monkeypatch, capsys):
    class Poison(torch.autograd.Function):
        @staticmethod
        def forward(context, value):
            return value.clone()

        @staticmethod
        def backward(context, gradient):
            return gradient * math.nan

    settings = make_settings(micro_batch=4)
    poison(monkeypatch, {3}, Poison.apply)
    train_wavenet(data, tmp_path, make_config(), settings)
    (skipped,) = lines_of(tmp_path, "skipped_step")
    assert skipped["step"] == 4
    assert "gradient is not finite" in skipped["reason"]
    assert "step 4 is skipped" in capsys.readouterr().err
    for path in (tmp_path / "checkpoints").iterdir():
        tensors = checkpoint.read_tensors(path, lambda _, path=path: shapes_in(path))[0]
        assert all(torch.isfinite(value).all() for value in tensors.values())


def shapes_in(path):
    import safetensors

    with safetensors.safe_open(path, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def test_a_step_whose_loss_is_not_finite_is_skipped(data, tmp_path, monkeypatch):
    poison(monkeypatch, {5}, lambda value: value * math.inf)
    train_wavenet(data, tmp_path, make_config(), make_settings(micro_batch=4))
    assert [line["step"] for line in lines_of(tmp_path, "skipped_step")] == [6]


def test_an_explosion_rolls_back_and_halves_the_learning_rate(data, tmp_path, monkeypatch, capsys):
    poison(monkeypatch, range(38, 43), lambda value: value + 50)
    train_wavenet(data, tmp_path, make_config(), make_settings(steps=60, micro_batch=4, save_every=10, keep=9))
    (rollback,) = lines_of(tmp_path, "rollback")
    assert rollback["step"] == rollback["to"] == 10  # not 20 or 30: the explosion might have begun before them
    assert "at step 39" in rollback["reason"]
    assert rollback["learning_rate_scale"] == 0.5
    assert "back to step 10, learning rate times 0.5" in capsys.readouterr().err
    rates = {line["step"]: line["learning_rate"] for line in lines_of(tmp_path, "train")}
    assert rates[50] == pytest.approx(make_settings(steps=60).rate(49) / 2)
    assert losses_of(tmp_path)[-1] < 5


def test_after_a_rollback_a_step_is_validated_again(data, tmp_path, monkeypatch):
    poison(monkeypatch, range(40, 45), lambda value: value + 50)
    settings = make_settings(steps=60, micro_batch=4, save_every=10, keep=9, validate_every=20, average=0.9)
    train_wavenet(data, tmp_path, make_config(), settings)
    assert [line["step"] for line in lines_of(tmp_path, "rollback")] == [20]
    assert [line["step"] for line in lines_of(tmp_path, "validation")] == [20, 40, 40, 60]


def test_a_checkpoint_keeps_the_learning_rate_scale_of_a_rollback(data, tmp_path, monkeypatch):
    config = make_config()
    run = progress.Progress(WaveNet(config), config.to_dict(), torch.device("cpu"))
    run.counters = dataclasses.replace(run.counters, step=7, learning_rate_scale=0.25, rollbacks=2, bits=[4.0, 3.5])
    path = run.save(tmp_path, keep=2)
    again = progress.Progress(WaveNet(config), config.to_dict(), torch.device("cpu"))
    again.load(path)
    assert again.counters == run.counters
    assert all(torch.equal(again.parameters[name], value) for name, value in run.parameters.items())


def test_endless_explosions_end_with_advice(data, tmp_path, monkeypatch):
    poison(monkeypatch, range(10_000), lambda value: value + math.nan)
    with pytest.raises(TrainingError, match=r"smaller --learning-rate"):
        train_wavenet(data, tmp_path, make_config(), make_settings(steps=1000, micro_batch=4))
    assert WaveNet.from_pretrained(tmp_path).get_parameter("skip.bias").isfinite().all()


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch(data, tmp_path, monkeypatch):
    config = make_config()
    train_wavenet(data, tmp_path / "plain", config, make_settings(micro_batch=1))
    right = WaveNetTask.loss

    def tight(self, model, batch, targets):
        if not torch.is_inference_mode_enabled() and batch.tokens.shape[0] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return right(self, model, batch, targets)

    monkeypatch.setattr(WaveNetTask, "loss", tight)
    train_wavenet(data, tmp_path / "tight", config, make_settings(micro_batch=4))
    assert [line["size"] for line in lines_of(tmp_path / "tight", "micro_batch")] == [2, 1]
    assert losses_of(tmp_path / "tight") == losses_of(tmp_path / "plain")


def test_out_of_memory_with_one_window_ends_with_advice(data, tmp_path, monkeypatch):
    def tight(self, model, batch, targets):  # as torch says it on a CPU under Linux
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12")

    monkeypatch.setattr(WaveNetTask, "loss", tight)
    with pytest.raises(TrainingError, match=r"one window of 64 targets: give a smaller --window"):
        train_wavenet(data, tmp_path, make_config(), make_settings())
    assert [line["size"] for line in lines_of(tmp_path, "micro_batch")] == [2, 1]


def test_a_resumed_run_uses_the_new_micro_batch_setting(data, tmp_path, monkeypatch):
    train_wavenet(data, tmp_path, make_config(), make_settings(steps=4, micro_batch=4))
    sizes = []
    right = WaveNetTask.loss

    def counting(self, model, batch, targets):
        sizes.append(len(batch.tokens))
        return right(self, model, batch, targets)

    monkeypatch.setattr(WaveNetTask, "loss", counting)
    train_wavenet(data, tmp_path, make_config(), make_settings(steps=5, micro_batch=1, validate_every=100))
    assert sizes[:4] == [1, 1, 1, 1]


def test_other_errors_of_the_model_are_not_mistaken_for_out_of_memory(data, tmp_path, monkeypatch):
    def broken(self, model, batch, targets):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(WaveNetTask, "loss", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train_wavenet(data, tmp_path, make_config(), make_settings())


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_write_error_ends_with_a_clear_message_and_intact_checkpoints(data, tmp_path, monkeypatch, error):
    right = checkpoint.write_tensors
    written = []

    def refusing(path, *rest):
        if "step-00000008" in path.name:
            raise OSError(error, "the disk refuses")
        written.append(path)
        right(path, *rest)

    monkeypatch.setattr(checkpoint, "write_tensors", refusing)
    with pytest.raises(CheckpointError, match=r"the disk refuses.*run the same command to resume"):
        train_wavenet(data, tmp_path, make_config(), make_settings())
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000000.safetensors",
        "step-00000004.safetensors",
    ]
    monkeypatch.undo()
    train_wavenet(data, tmp_path, make_config(), make_settings())
    train_wavenet(data, tmp_path / "whole", make_config(), make_settings())
    assert weights_of(tmp_path, 12) == weights_of(tmp_path / "whole", 12)


def test_resume_with_other_settings_is_refused(data, tmp_path):
    train_wavenet(data, tmp_path, make_config(), make_settings())
    with pytest.raises(InputError, match=r"^\S+ holds another run: residual_channels was 8, now 9"):
        train_wavenet(data, tmp_path, make_config(residual_channels=9), make_settings())
    with pytest.raises(InputError, match=r"seed was 0, now 1"):
        train_wavenet(data, tmp_path, make_config(), make_settings(seed=1))
    assert json.loads((tmp_path / "run.json").read_text())["settings"]["seed"] == 0


def test_data_for_another_model_are_refused(data, tmp_path):
    with pytest.raises(InputError, match=r"classes 32, the model 64"):
        train_wavenet(data, tmp_path, make_config(classes=64), make_settings())
    assert not (tmp_path / "run.json").exists()


# Settings


def test_schedules_warm_up_and_fall():
    def rates(**changes):
        settings = Settings(steps=1000, warmup=100, learning_rate=1.0, decay_every=300, **changes)
        return [settings.rate(step) for step in range(1000)]

    for schedule in ("constant", "cosine", "step", "inverse-root"):
        values = rates(schedule=schedule)
        assert values[0] == pytest.approx(0.01)
        assert values[99] == pytest.approx(1.0)
        assert all(a >= b for a, b in itertools.pairwise(values[99:]))
    assert rates(schedule="constant")[-1] == 1
    assert rates(schedule="cosine")[550] == pytest.approx(0.5)
    assert rates(schedule="cosine")[-1] < 1e-5
    assert rates(schedule="step")[401] == 0.5
    assert rates(schedule="inverse-root")[400] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0"),
        ({"schedule": "linear"}, "choose one of constant, cosine"),
        ({"precision": "float16"}, "choose one of float32, bfloat16"),
        ({"average": 1.0}, "average is a decay"),
        ({"seed": -1}, "seed must be"),
        ({"minutes": math.nan}, "minutes must be above 0"),
        ({"minutes": -1.0}, "minutes must be above 0"),
        ({"betas": (2.0, 3.0)}, "betas are two decays"),
        ({"weight_decay": math.inf}, "weight_decay must be at least 0"),
    ],
)
def test_invalid_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Settings(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"codec": "pcm", "classes": 0, "output": "mixture-of-logistics", "mixtures": 2},
        {"codec": "pcm", "classes": 0, "output": "gaussian"},
        {"dilations": (3,)},
    ],
)
def test_every_kind_of_model_trains(tmp_path, changes):
    config = make_config(**changes)
    data = make_data(tmp_path, codec=config.codec, classes=config.classes)
    train_wavenet(data, tmp_path / "run", config, make_settings(steps=30, precision="bfloat16"))
    losses = losses_of(tmp_path / "run")
    assert losses[-1] < losses[0]
    assert WaveNet.from_pretrained(tmp_path / "run").config == config
