"""The C program of examples/ needs only a C compiler, and writes the file that the command line writes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastwave import WaveNet, WaveNetConfig, checkpoint
from fastwave.runtime import library

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "examples" / "generate.c"
COMPILER = shutil.which("cc")


pytestmark = [
    pytest.mark.skipif(not PROGRAM.exists(), reason="no examples/ around these tests"),
    pytest.mark.skipif(not COMPILER or sys.platform != "linux", reason="needs a C compiler on Linux"),
]


def compile_example(tmp_path):
    """The program, in tmp_path/generate."""
    folder = library.FOLDER
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "csrc"]
    linked = ["-L", folder, "-lfastwave_cpu", f"-Wl,-rpath,{folder}", "-lm"]
    subprocess.run([COMPILER, *flags, PROGRAM, "-o", tmp_path / "generate", *linked], check=True)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"codec_parameters": {"pre_emphasis": 0.85}}, "mu-law without parameters"),
        ({"excitation_channels": 1}, "gives no excitation"),
    ],
)
def test_the_c_example_refuses_a_model_that_it_would_hear_wrongly(tmp_path, fields, reason):
    compile_example(tmp_path)
    model = WaveNet(WaveNetConfig(residual_channels=4, skip_channels=4, **fields))
    model.save_pretrained(tmp_path / "model")
    command = [tmp_path / "generate", tmp_path / "model", tmp_path / "c.wav", "1", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and reason in done.stderr
    assert not (tmp_path / "c.wav").exists()


def test_the_c_example_writes_the_file_that_the_command_line_writes(tmp_path):
    compile_example(tmp_path)
    pluck = checkpoint.BUNDLED / "pluck"
    subprocess.run([tmp_path / "generate", pluck, tmp_path / "c.wav", "3", "7"], check=True, timeout=60)
    command = [
        sys.executable,
        "-m",
        "fastwave",
        "generate",
        "pluck",
        "--seconds",
        "3",
        "--seed",
        "7",
        "--dtype",
        "float32",
    ]
    subprocess.run([*command, "-o", tmp_path / "python.wav"], check=True, timeout=60, cwd=tmp_path)

    assert (tmp_path / "c.wav").read_bytes() == (tmp_path / "python.wav").read_bytes()
