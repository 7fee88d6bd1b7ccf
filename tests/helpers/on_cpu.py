"""Builds csrc/cuda for the CPU (tests/cuda_on_cpu), and lets fastwave's own cuda backend run on it."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastwave.engine import cuda as cuda_engine
from fastwave.runtime import dispatch, library

ROOT = Path(__file__).resolve().parents[2]
SOURCES, HERE = ROOT / "csrc", ROOT / "tests" / "cuda_on_cpu"
CUDA = ("device.cu", "engine.cu", "general.cu", "cluster.cu")
ENGINE = [*(SOURCES / "cuda" / each for each in CUDA), SOURCES / "model.cpp", SOURCES / "status.cpp"]
# Without contraction a fused multiply-add is where the source says so, as the kernels' tests of equality need it.
FLAGS = ("-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror")
SANITIZERS = {
    "memory": ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "threads": ("-g", "-fsanitize=thread"),
    "plain": (),
}


def compiler():
    """The C++ compiler, or a skip that says what is missing."""
    if not SOURCES.exists():
        pytest.skip("no source tree around these tests")
    if not shutil.which("g++") or sys.platform != "linux":
        pytest.skip("CUDA on the CPU needs g++ on Linux")
    return "g++"


def build(target, sources, *flags, before=()):
    """Compile `sources` as C++ into `target`; headers in the folders `before` go first."""
    program = compiler()
    folders = [f"-I{folder}" for folder in (HERE, *before, SOURCES)]
    native_flag = ["-march=native"] if "fma" in Path("/proc/cpuinfo").read_text().split() else []
    command = [program, *FLAGS, *native_flag, *flags, *folders, "-x", "c++", *sources, "-o", target, "-lpthread"]
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return target


def build_library(folder):
    """libfastwave_cuda.so for the CPU in `folder`, beside a link to the libfastwave_cpu that is in use."""
    build(
        folder / "libfastwave_cuda.so",
        [*ENGINE, HERE / "library.cpp"],
        "-O2",
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
    )
    cpu = library.FOLDER / "libfastwave_cpu.so"
    if cpu.exists():
        (folder / cpu.name).symlink_to(cpu)
    return folder


class Machine:
    """What a test may set and ask of the CUDA on the CPU."""

    def __init__(self, handle):
        self.handle = handle
        handle.on_cpu_fault.restype = ctypes.c_char_p
        self.set()
        self.seed(0)

    def set(
        self, driver=13000, devices=2, multiprocessors=3, shared_limit=227 << 10, capturing=False, major=9, clusters=1
    ):
        self.handle.on_cpu_machine(driver, devices, multiprocessors, shared_limit, int(capturing), major, clusters)

    def seed(self, seed):
        self.handle.on_cpu_set_seed(ctypes.c_uint64(seed))

    def answer(self, function, error):
        self.handle.on_cpu_answer(function.encode(), error)

    def fault(self):
        return self.handle.on_cpu_fault().decode()

    def last_launch(self):
        """(device, stream, launches so far, allocations that were not given back)"""
        device, stream, launches, kept = ctypes.c_int32(), ctypes.c_void_p(), ctypes.c_int32(), ctypes.c_int32()
        self.handle.on_cpu_last_launch(*(ctypes.byref(each) for each in (device, stream, launches, kept)))
        return device.value, stream.value, launches.value, kept.value


def use(folder, monkeypatch):
    """From now on fastwave's cuda backend runs on the library in `folder`, with tensors on the CPU."""
    monkeypatch.setattr(library, "FOLDER", folder)
    monkeypatch.setattr(cuda_engine, "device_of", lambda parameters: torch.device("cpu"))
    monkeypatch.setattr(cuda_engine, "stream_of", lambda device: 0)
    monkeypatch.setattr(dispatch, "_no_torch_cuda", lambda: "")
    library._open.cache_clear()
    return Machine(library._open("cuda"))


# A statement that only waits: at a barrier, or for a signal, which a name begins, with members, calls and indices.
PART = r"(?:(?:\.|->|::)\w+|<\w+>|\([^;()]*(?:\([^;()]*\)[^;()]*)*\)|\[[^;\[\]]*(?:\[[^;\[\]]*\][^;\[\]]*)*\])"
BARRIER = r"__sync(?:threads|warp)\(\);|\b(?:fw::)?(?:cluster_barrier\(\)|barrier_of\([^;]*\));"
WAITS = re.compile(rf"{BARRIER}|\b\w+{PART}*?(?:\.|->)wait\([^;]*\);")


def with_faults(folder, written):
    """A copy of csrc/cuda in `folder` with every fault of ours written into it, of which `::fault` plants one.

    The faults: each wait left out, and `written`, triples of file, text and what stands in its place. -> their names.
    Without instructions.h: what CUDA on the CPU has in its place comes first.
    """
    compiler()
    names = []
    (folder / "cuda").mkdir(parents=True)
    for path in sorted((SOURCES / "cuda").iterdir()):
        if path.name == "instructions.h":
            continue
        text, before = path.read_text(), len(names)

        def left_out(match, path=path, text=text):
            names.append(f"{path.name}:{text[: match.start()].count(chr(10)) + 1} without {match[0]}")
            return f"if (::fault != {len(names) - 1}) {match[0]}"

        faulty = WAITS.sub(left_out, text)
        assert len(re.findall(r"(?:\.|->)wait\(", text)) == len(re.findall(r"wait\([^;]*\);", " ".join(names[before:])))
        for file, old, new in written:
            if file == path.name:
                assert faulty.count(old) == 1, f"{old!r} stands {faulty.count(old)} times in {file}"
                names.append(f"{file} with {new}")
                faulty = faulty.replace(old, new.replace("FAULT", f"(::fault == {len(names) - 1})"))
        if path.name == "job.h":
            faulty = faulty.replace("namespace fw {", "extern int fault;\nnamespace fw {", 1)
        (folder / "cuda" / path.name).write_text(faulty)
    return names
