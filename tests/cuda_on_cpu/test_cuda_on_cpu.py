"""The CUDA sources run on the CPU: right under every schedule, clean under sanitizers, and every barrier is needed.

What only a GPU shows (its rounding, its memory order, its speed) is in test_cuda_engine.py, behind the marker `gpu`.
"""

import os
import re
import shutil
import subprocess

import pytest

import on_cpu

pytestmark = pytest.mark.slow

SCHEDULES = 8
# Each must be seen. Of a barrier left out ThreadSanitizer sees a race where the schedules happen to come out right.
FAULTS = [
    ("sampling.h", "value += __shfl_xor_sync(", "if (!FAULT || lane() != 7) value += __shfl_xor_sync("),
    ("general.cu", "s.total += room(floats);", "s.total += FAULT ? room(floats) / 2 : room(floats);"),
    ("general.h", "+ tap * layer.dilation;", "+ (FAULT && tap == 0 ? 1 : tap) * layer.dilation;"),
    ("streams.h", "run.projected + positions[s].row", "run.projected + (FAULT ? 0 : positions[s].row)"),
    ("general.h", "for (int slice = 0; slice < m.slices;", "for (int slice = FAULT; slice < m.slices;"),
    ("general.h", "streams.embedded(n.front, s, j, sample)", "streams.embedded(n.front, s, j, FAULT ? 0 : sample)"),
    ("cluster_head.h", "2 * pair + 1, i)", "2 * pair + 1, FAULT ? 0 : i)"),
]
BUDGET = {"registers": 128, "stack": 64}  # of a thread: two blocks of 256, or one of 512, fit a multiprocessor


def run(program, *arguments, timeout=280, **environment):
    command = [str(each) for each in (program, *arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, env={**os.environ, **environment}
    )
    return done


def assert_clean(done):
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout
    assert done.stderr == ""


# The CUDA on the CPU itself

STUCK = (
    r"nothing can go on: block \d: thread \d+ waits for phase {} of a signal in messages.cpp:\d+ .*; block \d: thread"
)
PLANTED = {
    "kernels": {
        "no-barrier": "wrong numbers",
        "some-skip-barrier": r"waits at __syncthreads in kernels.cpp:\d+, but thread \d+ waits at __syncthreads",
        "two-barriers": r"waits at __syncthreads in kernels.cpp:\d+, but thread \d+ waits at __syncthreads",
        "early-return": "thread 7 has ended",
        "divergent-shuffle": r"waits at __syncthreads in .*, but thread \d+ waits at __shfl_xor_sync",
        "foreign-mask": "thread 3 calls __shfl_xor_sync in .* not in its own mask",
        "ended-lane": "lane 8 has ended and cannot take part|but thread .* has ended",
        "shared-overrun": "wrote beyond its shared memory",
        "no-cluster-barrier": "wrong numbers",
        "late-look": "wrong numbers",
        "cluster-deserted": "waits at a cluster barrier in .* another block of the cluster has ended",
        "named-count": "named barrier: the numbers of threads differ",
    },
    "messages": {
        "tile-without-lane": "waits at multiply_tile in .*, but thread 9 waits at",
        "tile-ended-lane": "calls multiply_tile in .* lane 9 has ended and cannot take part",
        "no-wait": "nothing can go on|wrong numbers|nothing keeps",
        "early-look": "wrong numbers",
        "no-expect": STUCK.format(3) + ".* nothing is expected",
        "expect-more": STUCK.format(3) + ".* 4 bytes have not come",
        "expect-twice": "expects twice in phase 3 of a signal, in messages.cpp",
        "no-prepare": "a signal that was not prepared",
        "prepare-twice": "prepare in .* prepared twice",
        "no-prepare-barrier": "a signal that was not prepared",
        "one-slot": "wrong numbers",
        "one-signal": "nothing keeps . bytes that block . put in .* in one phase of its signal|come too many",
        "late-phase": "waits for phase 1 of a signal in messages.cpp.* too late",
        "early-phase": "waits for phase 4 of a signal in messages.cpp.* too early: it is in phase 3",
        "misaligned": "put in messages.cpp.* 4 bytes at a misaligned place",
        "misaligned-pair": "put in messages.cpp.* 8 bytes at a misaligned place",
        "outside": "put in .* not dynamic shared memory",
        "no-such-block": "put in .* no such block",
        "no-last-wait": "has ended",
        "no-last-expect": "has ended",
        "both-wait-first": STUCK.format(0) + " . waits for phase 0 of a signal",
        "put-after-end": "block . has ended (before it got 4 bytes|with an open signal)|put in .* block . has ended",
        "end-before-put": "block . has ended (before it got 4 bytes|with an open signal)|put in .* block . has ended",
        "wait-and-barrier": "waits at a cluster barrier in .*, but thread . waits at named barrier 15",
        "half-warp": r"named barrier 15 in .*, but thread \d+ waits at named barrier 3",
        "barrier-two-lines": "lanes of one warp come to a cluster barrier in .* and in",
    },
}
PLANTED_FOR = {
    "memory": {"kernels": {"overrun": "heap-buffer-overflow", "shared-overrun": "AddressSanitizer"}},
    "threads": {
        "kernels": {"no-barrier": "data race", "no-warp-barrier": "data race", "no-cluster-barrier": "data race"},
        "messages": {"early-look": "data race", "one-slot": "data race"},
    },
}


@pytest.fixture(scope="module", params=[(name, sanitizer) for name in PLANTED for sanitizer in on_cpu.SANITIZERS])
def little(request, tmp_path_factory):
    """(the program of little kernels under one sanitizer or none, the faults to plant and what is said of each)"""
    name, sanitizer = request.param
    target = tmp_path_factory.mktemp(name) / sanitizer
    planted = {"plain": PLANTED}.get(sanitizer) or PLANTED_FOR[sanitizer]
    return on_cpu.build(target, [on_cpu.HERE / f"{name}.cpp"], *on_cpu.SANITIZERS[sanitizer]), planted.get(name, {})


def test_little_kernels_are_right_under_every_schedule_and_faults_in_them_are_seen(little):
    program, planted = little
    assert_clean(run(program))
    for fault, said in planted.items():
        done = run(program, fault, TSAN_OPTIONS="halt_on_error=1")
        assert done.returncode != 0, f"{fault} is not seen"
        assert re.search(said, done.stdout + done.stderr), f"{fault}: {done.stdout}{done.stderr[:2000]}"


# The engine


@pytest.fixture(scope="module")
def engine_memory(tmp_path_factory):
    target = tmp_path_factory.mktemp("engine") / "memory"
    return on_cpu.build(target, [*on_cpu.ENGINE, on_cpu.HERE / "engine.cpp"], *on_cpu.SANITIZERS["memory"])


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """({sanitizer: the engine over random networks, with faults to plant}, the faults' names)"""
    folder = tmp_path_factory.mktemp("faulty")
    names = on_cpu.with_faults(folder / "csrc", FAULTS)
    sources = [folder / "csrc" / "cuda" / name for name in on_cpu.CUDA]
    sources += [*on_cpu.ENGINE[len(on_cpu.CUDA) :], on_cpu.HERE / "engine.cpp"]
    programs = {
        name: on_cpu.build(folder / name, sources, "-DFW_FAULTS", *on_cpu.SANITIZERS[name], before=[folder / "csrc"])
        for name in ("plain", "threads")
    }
    return programs, names


@pytest.mark.parametrize(("kernel", "seeds", "networks"), [("general", 2, 6), ("cluster", 1, 3)])
def test_the_engine_reads_and_writes_only_what_is_its_own(engine_memory, kernel, seeds, networks):
    assert_clean(run(engine_memory, kernel, seeds, networks))


@pytest.mark.parametrize(("kernel", "seeds", "networks"), [("general", 2, 3), ("cluster", 1, 1)])
def test_the_engine_has_no_races(faulty, kernel, seeds, networks):
    assert_clean(run(faulty[0]["threads"], kernel, seeds, networks))


@pytest.mark.parametrize("kernel", ["general", "cluster"])
def test_random_networks_are_right_under_every_schedule(faulty, kernel):
    assert_clean(run(faulty[0]["plain"], kernel, SCHEDULES, 6))


def test_every_barrier_of_the_engine_is_needed_and_every_fault_is_seen(faulty):
    programs, names = faulty
    assert len(names) >= 35 + len(FAULTS)
    for index, name in enumerate(names):
        kernel = "cluster" if name.startswith("cluster") else "general"
        if "__syncwarp" in name:
            done = run(programs["threads"], kernel, 1, 3, index, TSAN_OPTIONS="halt_on_error=1")
            assert "data race" in done.stderr, f"{name}: not seen"
        else:
            done = run(programs["plain"], kernel, SCHEDULES, 6, index)
        assert done.returncode != 0, f"{name}: not seen"


@pytest.fixture(scope="module")
def cuda_build(tmp_path_factory, compilers):
    """A build folder of the CUDA library, as installs build it, in which nvcc reports on every kernel."""
    for tool in ("nvcc", "cmake", "ninja"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not on PATH")
    on_cpu.compiler()
    folder = tmp_path_factory.mktemp("cuda_build")
    options = ["-DFASTWAVE_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=80;90", "-DCMAKE_CUDA_FLAGS=-Xptxas=-v"]
    options.append(f"-DCMAKE_CUDA_COMPILER={shutil.which('nvcc')}")
    done = run("cmake", "-S", on_cpu.SOURCES, "-B", folder, "-G", "Ninja", *options, **compilers)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


# general: two types; 1, 2, 4 and 8 streams a block, and one in the workspace. cluster: folded and unfolded.
@pytest.mark.parametrize(("kernel", "count"), [("general", 10), ("cluster", 2)])
@pytest.mark.parametrize("architecture", [80, 90])
def test_kernels_keep_within_their_registers(cuda_build, kernel, architecture, count):
    compiled = cuda_build / "CMakeFiles" / "fastwave_cuda.dir" / "cuda" / f"{kernel}.cu.o"
    compiled.unlink(missing_ok=True)  # each architecture asks for the reports of both
    done = run("cmake", "--build", cuda_build, "--target", compiled.relative_to(cuda_build), timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    reports = re.split(r"Compiling entry function '\w+' for 'sm_(\d+)'", done.stdout)
    pairs = zip(reports[1::2], reports[2::2], strict=True)
    reports = [report for target, report in pairs if int(target) == architecture]
    assert len(reports) == count
    for report in reports:
        assert int(re.search(r"Used (\d+) registers", report)[1]) <= BUDGET["registers"]
        assert int(re.search(r"(\d+) bytes stack frame", report)[1]) <= BUDGET["stack"]
        assert set(re.findall(r"(\d+) bytes spill", report)) == {"0"}
        assert not re.findall(r"\d+ bytes smem", report)  # only the scratch, whose size a launch states
