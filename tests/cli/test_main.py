"""The command: results on standard output, sentences on standard error, status 0 only on success."""

import json
import re
import weakref

import numpy as np
import pytest
import soundfile
import torch

from fastwave import WaveNet, WaveNetConfig, generate, score
from fastwave.cli.main import main
from shapes import make_model, make_tokens


@pytest.fixture
def sound_model(tmp_path):
    folder = tmp_path / "model"
    make_model("mixture").save_pretrained(folder)
    return folder


@pytest.fixture
def text_model(tmp_path):
    torch.manual_seed(0)
    model = WaveNet(WaveNetConfig(residual_channels=4, skip_channels=4, dilations=(1, 2), codec="bytes", sample_rate=0))
    model.save_pretrained(tmp_path / "text")
    return tmp_path / "text"


def test_generate_saves_what_the_python_function_returns(sound_model, tmp_path, capsys):
    assert main(["generate", str(sound_model), "-o", str(tmp_path / "x.wav"), "--samples", "500", "--seed", "4"]) == 0
    wave, rate = soundfile.read(tmp_path / "x.wav", dtype="float32")
    expected = generate(sound_model, samples=500, seed=4).samples[0].numpy()
    assert rate == 16_000 and np.abs(wave - expected).max() <= 1 / 32768
    assert capsys.readouterr() == ("", "")  # quiet when piped


def test_generate_writes_text_to_standard_output(text_model, capsys):
    assert main(["generate", str(text_model), "--samples", "40", "--prime-text", "Once"]) == 0
    assert capsys.readouterr().out == generate(text_model, samples=40, prime="Once").text[0] + "\n"


def test_untrained_weights_are_announced(tmp_path, capsys):
    assert main(["generate", "--untrained", "small", "--samples", "20", "-o", str(tmp_path / "n.wav")]) == 0
    assert "weights are random" in capsys.readouterr().err


def test_generate_continues_a_file_under_conditioning(tmp_path):
    model = make_model("gaussian-repeat")
    model.save_pretrained(tmp_path / "model")
    soundfile.write(tmp_path / "prime.wav", np.zeros(60), 16_000)
    np.save(tmp_path / "c.npy", np.random.default_rng(0).normal(size=(30, 4)))
    arguments = ["--condition", str(tmp_path / "c.npy"), "--prime", str(tmp_path / "prime.wav")]
    assert main(["generate", str(tmp_path / "model"), *arguments, "-o", str(tmp_path / "out.flac")]) == 0
    assert soundfile.info(tmp_path / "out.flac").frames == 30 * 6 - 60


def test_score_prints_bits_for_each_file(sound_model, tmp_path, capsys):
    wave = make_tokens(make_model("mixture").config, 1, 400)[0].numpy()
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, wave, 16_000, subtype="FLOAT")
    assert main(["score", str(sound_model), str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[1] for line in lines] == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    assert float(lines[0].split("\t")[0]) == pytest.approx(score(sound_model, wave), abs=1e-3)


def test_score_reads_text(text_model, tmp_path, capsys):
    (tmp_path / "t.txt").write_text("some text")
    assert main(["score", str(text_model), str(tmp_path / "t.txt")]) == 0
    assert float(capsys.readouterr().out.split("\t")[0]) == pytest.approx(score(text_model, "some text"), abs=1e-3)


def test_info_states_receptive_field_parameters_and_least_time_a_sample(capsys):
    assert main(["info", "--untrained", "ref"]) == 0
    out = capsys.readouterr().out
    assert "2,047 samples = 127.9 ms at 16000 Hz" in out
    assert "885,184" in out and "868,800 weights, 1.74 MFLOP" in out
    assert re.search(r"float32 floor here .*(samples/s on one core|not measured)", out)


@pytest.mark.parametrize(("backend", "recompute"), [("reference", False), ("cpu", False), ("cpu", True)])
def test_training_memory_in_info_is_what_autograd_keeps(backend, recompute):
    from fastwave.cli.info import _training_bytes

    config = WaveNetConfig.preset("small")
    model, seen = WaveNet(config, backend, recompute), []
    parameters = {parameter.data_ptr() for parameter in model.parameters()}

    def keep(tensor):
        held = tensor.detach()  # an output that saved itself would keep itself alive for ever
        seen.append(weakref.ref(held))  # weak: the head frees what it saved for one piece before the next
        return held

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.loss(torch.randint(256, (1, 8000)))
    assert loss.requires_grad
    alive = [each().untyped_storage() for each in seen if each() is not None]
    kept = {storage.data_ptr(): storage.nbytes() for storage in alive if storage.data_ptr() not in parameters}
    # 8,000 samples; the figure is that of 1,000
    assert sum(kept.values()) / 8 == pytest.approx(_training_bytes(config, backend, recompute), rel=0.05)


def test_doctor_lists_backends_with_reasons(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"generation reference +available", out)
    assert re.search(r"generation cuda +(available|lib|no NVIDIA driver|the NVIDIA driver|CUDA devices|torch)", out)


def test_doctor_examines_a_model_and_fails_a_broken_one(sound_model, tmp_path, capsys):
    assert main(["doctor", str(sound_model)]) == 0
    assert capsys.readouterr().out.count("ok  ") == 4
    broken = make_model("mixture")
    with torch.no_grad():
        broken.get_parameter("skip.bias")[0] = float("nan")
    broken.save_pretrained(tmp_path / "broken")
    assert main(["doctor", str(tmp_path / "broken")]) == 1
    assert "BAD  weights are finite: NaN or infinity in skip.bias" in capsys.readouterr().out


def test_bench_prints_a_row_with_its_proof(capsys):
    assert main(["bench", "--untrained", "small", "--samples", "8", "--repeats", "2"]) == 0
    out = capsys.readouterr().out
    assert "generate small cpu" in out and "proof: largest difference" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate"], "give -o"),
        (["generate", "pluck", "--untrained", "small", "-o", "x.wav"], "not both"),
        (["generate", "--untrained", "small"], "give -o"),
        (["generate", "--untrained", "huge", "-o", "x.wav"], "'huge'"),
        (["generate", "/nowhere", "-o", "x.wav"], "no checkpoint folder"),
        (["generate", "--untrained", "small", "-o", "x.xyz", "--samples", "1"], "xyz"),
        (["generate", "--untrained", "small", "-o", "x.wav", "--backend", "cuda"], "cuda"),
        (["generate", "--untrained", "small", "-o", "x.wav", "--prime", "/nowhere.wav"], "nowhere.wav"),
        (["generate", "--untrained", "small", "-o", "x.wav", "--condition", "/nowhere.npy"], "nowhere.npy"),
        (["generate", "--untrained", "small", "-o", "x.wav", "--save-every", "0"], "--save-every"),
        (["score", "/nowhere", "a.wav"], "no checkpoint folder"),
        (["doctor", "/nowhere"], "no checkpoint folder"),
    ],
)
def test_failures_are_one_sentence_and_status_1(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    err = capsys.readouterr().err.splitlines()
    assert message in err[-1] and err[-1].startswith(f"fastwave {arguments[0]}: ")
    assert not list(tmp_path.iterdir())


def test_arrays_that_are_pickles_or_lie_about_their_size_are_refused(sound_model, tmp_path, capsys):
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    header = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 80), }".ljust(117)
        + b"\n"
    )
    (tmp_path / "liar.npy").write_bytes(header)
    for name in ("pickle.npy", "liar.npy"):
        arguments = ["generate", str(sound_model), "-o", str(tmp_path / "x.wav"), "--condition", str(tmp_path / name)]
        assert main(arguments) == 1
        assert "as a .npy array" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["generate", "score", "info", "doctor", "bench"])
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0 and "usage: fastwave" in capsys.readouterr().out


def test_ctrl_c_keeps_what_was_made(sound_model, tmp_path, monkeypatch, capsys):
    from fastwave.engine.engine import Engine

    original, calls = Engine.run, []

    def stop_at_second(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    monkeypatch.setattr(Engine, "run", stop_at_second)
    assert main(["generate", str(sound_model), "-o", str(tmp_path / "x.wav"), "--samples", "5000"]) == 130
    assert soundfile.info(tmp_path / "x.wav").frames == 1024


def test_config_json_of_a_saved_model_reads_as_json(sound_model):
    assert json.loads((sound_model / "config.json").read_text())["output"] == "mixture-of-logistics"
