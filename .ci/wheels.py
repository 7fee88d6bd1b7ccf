#!/usr/bin/env python3
"""Builds what a release consists of: python .ci/wheels.py OUT [--architecture x86_64 --architecture aarch64] [--cuda]

OUT gets the source distribution, a manylinux wheel of each architecture, built from that source distribution, a bill of
materials beside each wheel (CycloneDX), and SHA256SUMS. The same commit gives the same bytes with the same tools; all
times in the files are SOURCE_DATE_EPOCH, or else the time of the commit. Every wheel is checked before it is put there.

Needs `pip install fastwave[release]` and g++; for an architecture that is not this machine's, Debian's
g++-aarch64-linux-gnu. How old a system may be is decided by the C library of the compiler: auditwheel reads it from the
library and names the wheel after it.
"""

from __future__ import annotations

import argparse
import email
import gzip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import sbom

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURES = {  # by what stands in the header of their ELF files, and the instruction sets of a complete library
    "x86_64": ("EM_X86_64", ["portable", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"]),
    "aarch64": ("EM_AARCH64", ["portable", "neon_dotprod"]),
}
SYSTEM_LIBRARIES = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="an empty folder, or a new one")
    parser.add_argument("--architecture", action="append", choices=ARCHITECTURES, help="default: this machine's")
    parser.add_argument("--cuda", action="store_true", help="with libfastwave_cuda, which needs nvcc")
    options = parser.parse_args()
    architectures = options.architecture or [platform.machine()]
    if unknown := set(architectures) - set(ARCHITECTURES):
        raise SystemExit(f"no wheel can be made for {', '.join(unknown)}: --architecture takes one that can.")
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise SystemExit(f"{out} is not empty: a release is built into a folder of its own.")
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch(), "TZ": "UTC", "LC_ALL": "C"}
        environment["FASTWAVE_CUDA"] = "ON" if options.cuda else "OFF"
        sources = build_sources(work, environment)
        for architecture in architectures:
            wheel = build_wheel(work, sources, architecture, environment)
            check(wheel, sources, architecture, options.cuda)
            (out / f"{wheel.stem}.cdx.json").write_text(
                sbom.text_of(wheel, sources, int(environment["SOURCE_DATE_EPOCH"]))
            )
            shutil.copyfile(wheel, out / wheel.name)
        shutil.copyfile(work / f"{sources.name}.tar.gz", out / f"{sources.name}.tar.gz")
    files = sorted(path for path in out.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (out / "SHA256SUMS").write_text("".join(lines))
    print("".join(lines), end="")


def epoch() -> str:
    """The second to which all times in the files are set."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return os.environ["SOURCE_DATE_EPOCH"]
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit("there is no commit whose time the files could have: set SOURCE_DATE_EPOCH to a Unix time.")
    return done.stdout.strip()


def build(kind: str, folder: Path, out: Path, environment: dict[str, str]) -> Path:
    """Run the build backend on a folder -> the only file that it made."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out), str(folder)]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\nthe {kind} was not built; the reason stands above.")
    (made,) = out.iterdir()
    return made


def build_sources(work: Path, environment: dict[str, str]) -> Path:
    """The source distribution, as work/NAME.tar.gz -> a folder with its files."""
    tree = work / "tree"
    left_behind = (".git", ".venv", "build", "dist", "runs", "*.egg-info", "__pycache__", ".*_cache", "*.so")
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*left_behind))
    made = build("sdist", tree, work / "sdist", environment)
    archive = work / made.name
    repack(made, archive, int(environment["SOURCE_DATE_EPOCH"]))
    with tarfile.open(archive) as tar:
        tar.extractall(work / "unpacked", filter="data")
    return work / "unpacked" / archive.name.removesuffix(".tar.gz")


def repack(made: Path, archive: Path, time: int) -> None:
    """Copy a .tar.gz so that it holds nothing of the machine: no owner, no time of its own, one order, two modes."""
    with (
        tarfile.open(made) as source,
        open(archive, "wb") as raw,
        gzip.GzipFile("", "wb", mtime=time, fileobj=raw) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        for entry in sorted(source.getmembers(), key=lambda entry: entry.name):
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.pax_headers = time, 0, 0, "", "", {}
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            target.addfile(entry, source.extractfile(entry) if entry.isfile() else None)


def build_wheel(work: Path, sources: Path, architecture: str, environment: dict[str, str]) -> Path:
    """A wheel from the source distribution, named after the oldest C library with which it works."""
    if architecture != platform.machine():
        toolchain = ROOT / ".ci" / f"{architecture}.cmake"
        if not toolchain.exists():
            raise SystemExit(f"there is no compiler here for {architecture}: build its wheel on such a machine.")
        # CMake and sysconfig read these two: what to compile with, and what to call the wheel
        cross = {"CMAKE_TOOLCHAIN_FILE": str(toolchain), "_PYTHON_HOST_PLATFORM": f"linux-{architecture}"}
        environment = {**environment, **cross}
    tree = work / f"tree-{architecture}"
    shutil.copytree(sources, tree)
    made = build("wheel", tree, work / f"built-{architecture}", environment)
    repaired = work / f"repaired-{architecture}"
    scripts = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    command = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", str(repaired), str(made)]
    done = subprocess.run(command, env={**environment, "PATH": scripts}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}\nauditwheel has refused {made.name}.")
    (wheel,) = repaired.iterdir()
    return wheel


def check(wheel: Path, sources: Path, architecture: str, cuda: bool = False) -> None:
    """Refuse a wheel that does not hold what it should."""
    problems = list(problems_of(wheel, sources, architecture, cuda))
    if problems:
        raise SystemExit(f"{wheel.name} must not be published:\n" + "\n".join(f"- {problem}" for problem in problems))


def problems_of(wheel: Path, sources: Path, architecture: str, cuda: bool = False):
    """What is wrong with a wheel, in sentences."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    inside = {name: data for name, data in files.items() if ".dist-info/" not in name}
    about = {name.partition(".dist-info/")[2]: data for name, data in files.items() if ".dist-info/" in name}

    for folder, target in (("fastwave", "fastwave"), ("kernels", "fastwave/kernels")):
        for path in sorted((sources / folder).rglob("*.py")):
            name = f"{target}/{path.relative_to(sources / folder)}"
            if inside.get(name) != path.read_bytes():
                yield f"{name} is missing, or not that of the sources."
    for name in ("LICENSE", "NOTICE"):
        if about.get(f"licenses/{name}") != (sources / name).read_bytes():
            yield f"the {name} is missing, or not that of the sources."

    wanted = {"fastwave/libfastwave_cpu.so"} | ({"fastwave/libfastwave_cuda.so"} if cuda else set())
    libraries = {name for name, data in inside.items() if data[:4] == b"\x7fELF"}
    if libraries != wanted:
        yield f"its native libraries are {sorted(libraries)}; they should be {sorted(wanted)}."
    machine, instruction_sets = ARCHITECTURES[architecture]
    for name in sorted(libraries):
        library = sbom.read_library(inside[name])
        if library.machine != machine:
            yield f"{name} is for {library.machine}, not {machine}."
        if surplus := set(library.needed) - SYSTEM_LIBRARIES:
            yield f"{name} needs {', '.join(sorted(surplus))}, which not every system has."
        if re.search(r"/(tmp|home|root|Users)/", library.strings):
            yield f"{name} names a folder of the machine that built it."
        if "cpu" in name and library.build_info["instruction_sets"] != instruction_sets:
            yield f"{name} has the instruction sets {library.build_info['instruction_sets']}, not {instruction_sets}."

    tags = email.message_from_bytes(about["WHEEL"]).get_all("Tag") or []
    if not tags or not all(re.fullmatch(rf"py3-none-manylinux_2_\d+_{architecture}", tag) for tag in tags):
        yield f"its tags are {tags}; they should be py3-none-manylinux_2_N_{architecture}."
    if not wheel.name.endswith(f"-py3-none-{'.'.join(tag.split('-')[2] for tag in tags)}.whl"):
        yield f"its name does not say its tags, {tags}."


if __name__ == "__main__":
    main()
