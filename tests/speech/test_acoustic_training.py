"""The acoustic networks as tasks of the training loop."""

import pytest
import safetensors.torch
import torch

from fastwave import InputError
from fastwave.speech.acoustic.data import FRAMES, Utterances
from fastwave.speech.acoustic.tasks import TASKS, MelTask, Sentences
from fastwave.speech.acoustic.training import load, train
from fastwave.training import loop
from fastwave.training.settings import Settings
from small_runs import lines_of, weights_of
from spoken_sentences import SMALL, make_utterance, make_utterances, write_folder


def settings(**changes):
    quick = {
        "steps": 12, "batch": 4, "learning_rate": 1e-2, "warmup": 2, "validate_every": 6, "sample_every": 6,
        "save_every": 4, "log_every": 1, "average": 0.9,
    }  # fmt: skip
    return Settings(**{**quick, **changes})


@pytest.mark.parametrize("part", TASKS)
def test_training_lowers_the_loss_and_exports_the_averaged_weights(part, tmp_path):
    task = TASKS[part](make_utterances(), settings(steps=60, save_every=60, validate_every=30), SMALL)
    final = loop.train(task, tmp_path)
    losses = [line[task.loss_name] for line in lines_of(tmp_path, "train")]
    assert losses[-1] < 0.6 * losses[0]
    assert final < 0.8 * losses[0]
    tensors = safetensors.torch.load_file(tmp_path / f"{part}.safetensors")
    assert tensors.keys() == {f"{part}.{name}" for name, _ in task.build().named_parameters()}


@pytest.mark.parametrize("part", TASKS)
def test_a_resumed_run_ends_bit_identical(part, tmp_path):
    data = make_utterances()
    loop.train(TASKS[part](data, settings(), SMALL), tmp_path / "whole")

    class Stopped(TASKS[part]):
        def loss(self, model, batch, targets):
            if not torch.is_inference_mode_enabled():
                calls.append(1)
            if len(calls) == 8:
                raise RuntimeError("stop")
            return super().loss(model, batch, targets)

    calls = []
    with pytest.raises(RuntimeError, match="stop"):
        loop.train(Stopped(data, settings(), SMALL), tmp_path / "stopped")
    loop.train(TASKS[part](data, settings(), SMALL), tmp_path / "stopped")
    assert [line["step"] for line in lines_of(tmp_path / "stopped", "resume")] == [4]
    assert weights_of(tmp_path / "stopped", 12) == weights_of(tmp_path / "whole", 12)


def test_padding_changes_no_loss():
    data = make_utterances()
    for task in (kind(data, settings(), SMALL) for kind in TASKS.values()):
        torch.manual_seed(0)
        model = task.build()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        several = sorted(data.training[:4], key=lambda each: len(each.frames))
        together = task.loss(model, Sentences.of(several), 100)
        alone = sum(task.loss(model, Sentences.of([each]), 100) for each in several)
        assert together.item() == pytest.approx(alone.item(), rel=1e-5)


def test_a_pass_over_the_data_takes_every_sentence_once():
    data = make_utterances(24)
    task = MelTask(data, settings(batch=5), SMALL)
    for epoch in (0, 3):
        seen = [task._at(epoch * 20 + place).name for place in range(20)]
        assert sorted(seen) == sorted(each.name for each in data.training)
    assert [task._at(place).name for place in range(20)] != [task._at(20 + place).name for place in range(20)]


def test_sentences_of_a_batch_are_about_equally_long():
    data = Utterances.of([make_utterance(number) for number in range(160)], "")
    task = MelTask(data, settings(batch=8), SMALL)
    spreads = []
    for step in range(10):
        lengths = [len(task._at(step * 8 + row).frames) for row in range(8)]
        spreads.append(max(lengths) / min(lengths))
    assert sum(spreads) / len(spreads) < 1.5


def test_a_folder_is_read_and_analysed_once(tmp_path):
    write_folder(tmp_path)
    data = Utterances.read(tmp_path)
    assert [each.name for each in data.training] == ["0", "1"] and [each.name for each in data.held_out] == ["2"]
    each = data.training[0]
    assert tuple(each.sentence.units()) == each.units
    assert each.frames.shape == (int(each.durations.sum()), 42)
    assert torch.allclose(each.exact, 1.25 * each.durations)  # at the usual speed
    saved = (tmp_path / FRAMES).stat().st_mtime_ns
    assert torch.equal(Utterances.read(tmp_path).training[0].frames, each.frames)
    assert (tmp_path / FRAMES).stat().st_mtime_ns == saved


def test_durations_that_do_not_fit_the_sound_are_refused(tmp_path):
    write_folder(tmp_path)
    index = tmp_path / "utterances.jsonl"
    index.write_text(index.read_text().replace('"durations": [', '"durations": [9', 1))
    with pytest.raises(InputError, match="sentence 0 has"):
        Utterances.read(tmp_path)
    index.write_text("{}\n{")
    with pytest.raises(InputError, match="damaged"):
        Utterances.read(tmp_path)


def test_one_call_trains_all_three_and_resumes(tmp_path):
    write_folder(tmp_path / "data")
    options = {"steps": 4, "save_every": 2, "validate_every": 2, "sample_every": 4, "batch": 2, "average": 0.9}
    model = train(tmp_path / "data", tmp_path / "out", 1.0, SMALL, **options)
    again = train(tmp_path / "data", tmp_path / "out", 1.0, SMALL, **options)
    assert all(torch.equal(value, again.tensors()[name]) for name, value in model.tensors().items())
    assert all((tmp_path / "out" / part / "report.html").exists() for part in TASKS)
    saved = load(tmp_path / "out")
    assert saved.settings() == model.settings()
    assert all(torch.equal(value.bfloat16().float(), saved.tensors()[name]) for name, value in model.tensors().items())
