"""The native code on 64-bit ARM, cross-compiled and emulated: the same programs that run under sanitizers elsewhere.

On a processor with dot products of bytes, and on one without (that of a Raspberry Pi 4).
"""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from fastwave.runtime.abi import INSTRUCTION_SETS

ROOT = Path(__file__).resolve().parents[2]
TOOLCHAIN = ROOT / ".ci" / "aarch64.cmake"
EM_AARCH64 = 183  # in the header of an ELF file
SYSTEM = Path("/usr/aarch64-linux-gnu")  # Debian's libraries for programs that are cross-compiled
PORTABLE, DOTPROD = (INSTRUCTION_SETS.index(name) for name in ("portable", "neon_dotprod"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() == "aarch64", reason="this machine is one: the other tests run its code"),
    pytest.mark.skipif(not TOOLCHAIN.exists(), reason="no source tree around these tests"),
    *(
        pytest.mark.skipif(not shutil.which(tool), reason=f"{tool} is not on PATH: apt install {package}")
        for tool, package in (
            ("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu"),
            ("qemu-aarch64", "qemu-user"),
            ("cmake", "cmake"),
            ("ninja", "ninja-build"),
        )
    ),
]


@pytest.fixture(scope="module")
def build(tmp_path_factory, compilers):
    """A folder with the library and the test programs."""
    folder = tmp_path_factory.mktemp("aarch64")
    environment = {**os.environ, **compilers, "CMAKE_TOOLCHAIN_FILE": str(TOOLCHAIN)}
    configure = ["-S", ROOT / "csrc", "-B", folder, "-G", "Ninja", "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON"]
    targets = ["boundary_cpu", "engine_cpu", "head_cpu", "stack_cpu"]
    for arguments in (configure, ["--build", folder, "--target", *targets]):
        done = subprocess.run(["cmake", *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run(program, processor):
    assert int.from_bytes(program.read_bytes()[18:20], "little") == EM_AARCH64
    command = ["qemu-aarch64", "-cpu", processor, "-L", SYSTEM, program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("part", ["engine", "head", "stack"])
def test_what_runs_on_this_processor_runs_on_arm(build, part):
    printed = run(build / f"{part}_cpu", "max")

    assert printed.startswith(f"{part}: instruction sets {PORTABLE} {DOTPROD}: ")


def test_a_processor_without_dot_products_runs_the_engine_without_them(build):
    printed = run(build / "engine_cpu", "cortex-a72")

    assert printed.startswith(f"engine: instruction sets {PORTABLE}: ")


@pytest.mark.parametrize("processor", ["max", "cortex-a72"])
def test_every_odd_call_is_refused_on_arm(build, processor):
    assert run(build / "boundary_cpu", processor).startswith("boundary: ")
