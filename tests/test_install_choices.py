"""What setup.py decides to build, shown by a cmake that builds nothing and writes down what it was asked for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "#!/bin/sh\n"


@pytest.fixture
def bench(tmp_path):
    """A function that puts programs on an otherwise empty PATH, builds there, and gives what cmake was asked for."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("no source tree around these tests")
    if os.name == "nt":
        pytest.skip("there are no shell scripts on Windows, and no native build")
    pytest.importorskip("setuptools", minversion="77")  # as the build asks for

    def build(*programs, **settings):
        path = tmp_path / "bin"
        path.mkdir()
        (path / "cmake").write_text(f'{PROGRAM}echo "$@" >> {tmp_path / "asked"}\n')
        for name in programs:
            (path / name).write_text(PROGRAM)
        for program in path.iterdir():
            program.chmod(0o755)
        tree = tmp_path / "tree"
        (tree / "fastwave").mkdir(parents=True)
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE", "fastwave/__init__.py"):
            shutil.copy(ROOT / name, tree / name)
        (tree / "kernels").mkdir()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("FASTWAVE", "CUDA", "CXX", "CMAKE"))}
        command = [sys.executable, "setup.py", "build_ext", "--build-lib", "lib", "--build-temp", "temp"]
        done = subprocess.run(
            command, cwd=tree, env={**clean, "PATH": str(path), **settings}, capture_output=True, text=True,
            check=False, timeout=600,
        )  # fmt: skip
        asked = tmp_path / "asked"
        return done, asked.read_text() if asked.exists() else ""

    return build


no_gpu = pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is an NVIDIA driver here")


def test_cuda_is_built_where_there_are_a_driver_and_nvcc(bench):
    done, asked = bench("c++", "nvcc", "nvidia-smi")
    assert done.returncode == 0, done.stderr
    assert "-DFASTWAVE_CUDA=ON" in asked and "bin/nvcc" in asked


@no_gpu
def test_cuda_is_left_out_without_a_driver_and_the_library_will_say_so(bench):
    done, asked = bench("c++", "nvcc")
    assert done.returncode == 0, done.stderr
    assert "-DFASTWAVE_CUDA=OFF" in asked and "-DFASTWAVE_CUDA_ABSENT=no NVIDIA driver at install time" in asked


def test_cuda_is_built_without_a_driver_where_it_is_asked_for(bench):
    done, asked = bench("c++", "nvcc", FASTWAVE_CUDA="ON")
    assert done.returncode == 0, done.stderr
    assert "-DFASTWAVE_CUDA=ON" in asked


def test_without_nvcc_that_is_the_reason(bench):
    done, asked = bench("c++", "nvidia-smi")
    assert done.returncode == 0, done.stderr
    assert "-DFASTWAVE_CUDA_ABSENT=nvcc not found at install time" in asked


def test_without_a_compiler_nothing_is_built_and_that_is_said_loudly(bench):
    done, asked = bench("nvcc", "nvidia-smi")
    assert done.returncode == 0, done.stderr
    assert asked == ""
    assert "NO C++ COMPILER was found" in done.stderr and "reference alone" in done.stderr


def test_cuda_that_was_asked_for_is_an_error_without_a_compiler(bench):
    done, asked = bench("nvcc", FASTWAVE_CUDA="ON")
    assert done.returncode != 0 and asked == ""
    assert "no C++ compiler was found" in done.stderr
