"""Native code is clean: the boundary, called with every odd argument and from several threads, under sanitizers."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILDS = {"memory": "address,undefined", "threads": "thread"}
REPORTS = {"overrun": "AddressSanitizer", "race": "ThreadSanitizer"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=BUILDS)
def build(request, tmp_path_factory):
    """A folder with the boundary programs under one sanitizer."""
    if not (ROOT / "csrc").exists():
        pytest.skip("no source tree around these tests")
    for tool in ("cmake", "ninja", "c++"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not on PATH: the sanitizer build needs it")
    folder = tmp_path_factory.mktemp(request.param)
    options = ["-DCMAKE_COMPILE_WARNING_AS_ERROR=ON", f"-DFASTWAVE_SANITIZE={BUILDS[request.param]}"]
    if request.param == "threads":
        options.append("-DFASTWAVE_COMPILES_avx512_vnni=OFF")  # as an old compiler would: a rung that must be refused
    targets = ["boundary_cpu"]
    if shutil.which("nvcc"):
        options += ["-DFASTWAVE_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=90"]  # host code only matters here
        targets.append("boundary_cuda")
    cmake("-S", ROOT / "csrc", "-B", folder, "-G", "Ninja", *options)
    cmake("--build", folder, "--target", *targets)
    return folder


def cmake(*arguments):
    done = subprocess.run(["cmake", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def run(program, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("library", ["cpu", "cuda"])
def test_every_odd_call_is_refused_cleanly(build, library):
    program = build / f"boundary_{library}"
    if not program.exists():
        pytest.skip("nvcc is not on PATH: the CUDA boundary was not built")

    done = run(program)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout
    assert done.stderr == ""


def test_the_sanitizer_sees_a_planted_fault(build):
    fault = "race" if build.name.startswith("threads") else "overrun"

    done = run(build / "boundary_cpu", fault)

    assert done.returncode != 0
    assert REPORTS[fault] in done.stderr


def test_the_boundary_program_calls_every_function():
    header = ROOT / "csrc" / "fastwave.h"
    if not header.exists():
        pytest.skip("no source tree around these tests")

    program = (ROOT / "tests" / "native" / "boundary.cpp").read_text()

    functions = re.findall(r"^FW_API \w+ (fw_\w+)\(", header.read_text(), flags=re.MULTILINE)
    assert functions
    assert [name for name in functions if not re.search(rf"\b{name}\b", program)] == []
