"""Native code is clean under sanitizers: the boundary with every odd argument, the rest over random networks.

And, in a build without them, the sample loop allocates nothing.
"""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILDS = {"memory": "address,undefined", "threads": "thread", "plain": ""}
REPORTS = {"overrun": "AddressSanitizer", "race": "ThreadSanitizer"}
RUNGS = {  # of the ladder in csrc/CMakeLists.txt, each with what Linux calls the newest extension that it needs
    "avx512": "avx512vl",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx": "amx_bf16",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=BUILDS)
def build(request, tmp_path_factory, compilers):
    """A folder with the test programs under one sanitizer, or none."""
    if not (ROOT / "csrc").exists():
        pytest.skip("no source tree around these tests")
    for tool in ("cmake", "ninja", "c++"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not on PATH: the sanitizer build needs it")
    folder = tmp_path_factory.mktemp(request.param)
    options = ["-DCMAKE_COMPILE_WARNING_AS_ERROR=ON", f"-DFASTWAVE_SANITIZE={BUILDS[request.param]}"]
    if request.param != "plain":
        options += [f"-DFASTWAVE_COMPILES_{rung}=OFF" for rung in cannot_run_here()]
    if request.param == "threads":
        options.append("-DFASTWAVE_COMPILES_avx512_vnni=OFF")  # as an old compiler would: a rung that must be refused
    targets = ["boundary_cpu", "engine_cpu", "head_cpu", "stack_cpu"]
    if shutil.which("nvcc"):
        # Only host code matters here, so the kernels are not optimised: 11 s, not 48, for general.cu.
        kernels = "-DCMAKE_CUDA_FLAGS=-Xcicc -O0 -Xptxas -O0"
        options += ["-DFASTWAVE_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=90", kernels]
        targets.append("boundary_cuda")
    environment = {**os.environ, **compilers}
    cmake("-S", ROOT / "csrc", "-B", folder, "-G", "Ninja", *options, environment=environment)
    cmake("--build", folder, "--target", *targets)
    return folder


def cannot_run_here():
    """Rungs that this processor lacks: a sanitizer sees only what runs, and to compile them takes minutes."""
    cpuinfo = Path("/proc/cpuinfo")
    extensions = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set(RUNGS.values())
    return [rung for rung, extension in RUNGS.items() if extension not in extensions]


def cmake(*arguments, environment=None):
    done = subprocess.run(["cmake", *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def run(program, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=300, check=False)


def assert_clean(done):
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("library", ["cpu", "cuda"])
def test_every_odd_call_is_refused_cleanly(build, library):
    program = build / f"boundary_{library}"
    if not program.exists():
        pytest.skip("nvcc is not on PATH: the CUDA boundary was not built")

    assert_clean(run(program))


def test_the_engine_is_clean_over_random_networks(build):
    assert_clean(run(build / "engine_cpu"))


def test_the_residual_stack_is_clean_over_random_stacks(build):
    assert_clean(run(build / "stack_cpu"))


def test_the_head_is_clean_over_random_heads(build):
    assert_clean(run(build / "head_cpu"))


def test_the_sample_loop_allocates_nothing(build):
    if not build.name.startswith("plain"):
        pytest.skip("the sanitizer has the memory functions to itself; the plain build counts")
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("allocations are counted through glibc's own names")

    done = run(build / "engine_cpu", "allocations")

    assert_clean(done)  # it fails where 5,000 samples allocate more often than 10
    assert done.stdout.count("allocations") == 24  # types x outputs x threads x streams


def test_the_sanitizer_sees_a_planted_fault(build):
    if build.name.startswith("plain"):
        pytest.skip("no sanitizer in this build")
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
