"""The command is quick on the keyboard: help without torch, words in groups, output for other programs."""

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from fastwave import WaveNetConfig, generate
from fastwave.cli import options as shared
from fastwave.cli.main import GROUPS, main
from fastwave.cli.presets import PURPOSES
from fastwave.config import PRESETS
from fastwave.runtime.dispatch import CANDIDATES, DTYPES
from shapes import make_model

VERBS = [module.__name__.rpartition(".")[2].rstrip("_") for modules in GROUPS.values() for module in modules]
QUICK = ["--help", "genrate", "generate --secnds 3", "generate nowhere -o x.wav", "train nowhere --out r", "models"]


def run(arguments, folder):
    """The command in a process of its own, which says last whether it imported torch or numpy."""
    code = (
        "import atexit, sys; from fastwave.cli.main import main; "
        "atexit.register(lambda: print('imported', sorted({'torch', 'numpy'} & set(sys.modules)))); sys.exit(main())"
    )
    command = [sys.executable, "-c", code, *arguments.split()]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=600)


@pytest.mark.parametrize("arguments", [*QUICK, *(f"{verb} --help" for verb in VERBS)])
def test_help_and_mistakes_are_answered_without_torch(arguments, tmp_path):
    done = run(arguments, tmp_path)
    assert done.stdout.splitlines()[-1] == "imported []", done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.alone
def test_help_and_mistakes_are_answered_in_300_ms_of_processor_time(tmp_path):
    """The best of three."""
    for arguments in QUICK:
        times = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run(arguments, tmp_path)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert min(times) < 0.3, arguments


def test_ctrl_c_during_the_import_of_torch_ends_without_a_word(tmp_path):
    (tmp_path / "torch.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt as error:\n    raise ImportError('torn in the midst of an import') from error\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code = (  # pytest may run in the background, where Ctrl-C is ignored
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from fastwave.cli.main import main; sys.exit(main(['info', 'pluck']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, timeout=600
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_help_shows_verbs_in_groups_examples_presets_and_models(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    for heading in ("make sound:", "train:", "say a text:", "play notes:", "look and measure:", "examples:"):
        assert f"\n{heading}\n" in shown
    assert len(re.findall(r"^  fastwave \w+ ", shown, flags=re.MULTILINE)) == 4
    assert all(re.search(rf"^  {verb} ", shown, flags=re.MULTILINE) for verb in VERBS)
    assert all(name in shown for name in (*PRESETS, "pluck"))


def test_the_words_that_help_and_choices_know_are_those_of_the_package():
    assert list(PURPOSES) == list(PRESETS)
    assert set(shared.BACKENDS) == {"auto", *CANDIDATES["generation"]}
    assert set(shared.DTYPES) == {"auto", *(dtype for dtypes in DTYPES["generation"].values() for dtype in dtypes)}


def test_models_and_presets_have_a_line_each(capsys):
    assert main(["models"]) == 0
    assert re.search(r"^pluck +plucked strings +243,040 +16,000 Hz +MIT", capsys.readouterr().out, flags=re.MULTILINE)
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(PRESETS)]] == list(PRESETS)
    assert re.search(r"^ref +20 +64 +256 +885,184 +2,047 \(128 ms\) +\d\.\d ", "\n".join(lines), flags=re.MULTILINE)


def test_json_is_one_value_on_standard_output(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.zeros(400), 16_000)
    make_model("mixture").save_pretrained(tmp_path / "model")
    model, sound = str(tmp_path / "model"), str(tmp_path / "a.wav")
    values = {}
    for verb, more in (
        ("models", []), ("presets", []), ("info", [model]), ("doctor", [model]), ("score", [model, sound]),
        ("bench", ["--untrained", "small", "--samples", "8", "--repeats", "2"]),
    ):  # fmt: skip
        assert main([verb, *more, "--json"]) == 0
        values[verb] = json.loads(capsys.readouterr().out)
    assert (
        values["models"][0]["parameters"]
        == WaveNetConfig.from_dict(config_of(values["models"][0]["name"])).parameter_count
    )
    assert [row["name"] for row in values["presets"]] == list(PRESETS)
    assert WaveNetConfig.from_dict(values["info"]["config"]) == make_model("mixture").config
    assert [finding["healthy"] for finding in values["doctor"]["findings"]] == [True] * 4
    assert {row["role"] for row in values["doctor"]["backends"]} == {"training", "generation"}
    assert [row["file"] for row in values["score"]] == [sound] and values["score"][0]["bits"] > 0
    assert values["bench"]["median"] > 0 and values["bench"]["proof"]


def config_of(name):
    from fastwave.locate import BUNDLED

    values = json.loads((BUNDLED / name / "config.json").read_text())
    return {key: value for key, value in values.items() if key not in ("format", "kind")}


def test_quiet_leaves_errors_alone_on_standard_error(tmp_path, capsys):
    command = ["generate", "--untrained", "small", "--samples", "20", "-o", str(tmp_path / "n.wav")]
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main([*command, "--quiet", "--prime", "nowhere.wav"]) == 1
    assert capsys.readouterr().err.startswith("fastwave generate: --prime nowhere.wav")


def test_a_dash_writes_a_wav_to_standard_output(tmp_path, capsysbinary):
    make_model("mixture").save_pretrained(tmp_path)
    assert main(["generate", str(tmp_path), "-o", "-", "--samples", "300", "--seed", "3"]) == 0
    wave, rate = soundfile.read(io.BytesIO(capsysbinary.readouterr().out), dtype="float32")
    expected = generate(tmp_path, samples=300, seed=3).samples[0].numpy()
    assert rate == 16_000 and np.abs(wave - expected).max() <= 1 / 32768


def test_a_dash_refuses_to_write_sound_to_a_terminal(tmp_path, capsys, monkeypatch):
    make_model("mixture").save_pretrained(tmp_path)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["generate", str(tmp_path), "-o", "-", "--samples", "300"]) == 1
    assert "-o - would write sound to the terminal" in capsys.readouterr().err


def test_a_file_at_another_rate_is_resampled_and_named(tmp_path, capsys):
    make_model("mixture").save_pretrained(tmp_path / "model")
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8_000)
    assert main(["score", str(tmp_path / "model"), str(tmp_path / "a.wav")]) == 0
    assert "a.wav has 8000 Hz and the model 16000 Hz: it is resampled" in capsys.readouterr().err


def test_the_prime_is_saved_too_when_asked_for(tmp_path):
    make_model("mixture").save_pretrained(tmp_path / "model")
    prime = np.linspace(-0.5, 0.5, 60)
    soundfile.write(tmp_path / "p.wav", prime, 16_000, subtype="FLOAT")
    command = ["generate", str(tmp_path / "model"), "--prime", str(tmp_path / "p.wav"), "--samples", "40"]
    for name, more in (("without", []), ("with", ["--include-prime"])):
        assert main([*command, "-o", str(tmp_path / f"{name}.wav"), *more]) == 0
    without, whole = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("without", "with"))
    assert len(whole) == 100 and np.abs(whole[:60] - prime).max() <= 1 / 32768
    assert np.array_equal(whole[60:], without)


def test_doctor_says_loudly_that_the_native_library_is_missing(monkeypatch, capsys):
    monkeypatch.setattr("fastwave.runtime.library.missing", lambda library: f"libfastwave_{library} is gone")
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "lib cpu" in shown and "libfastwave_cpu is gone" in shown
    assert "\nSLOW: fastwave has no native library here and computes with the reference alone" in shown
