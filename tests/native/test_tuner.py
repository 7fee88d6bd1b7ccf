"""The choice of schedules, which no result shows: a small C++ program asks it directly."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
@pytest.mark.skipif(not (ROOT / "csrc").exists(), reason="the C++ sources are not here")
def test_a_settled_engine_tries_no_other_schedule(tmp_path):
    program = tmp_path / "tuner"
    folders = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'tests/native'}"]
    subprocess.run(
        [COMPILER, "-std=c++17", "-O1", *folders, str(ROOT / "tests/native/tuner.cpp"), "-o", str(program)], check=True
    )
    subprocess.run([str(program)], check=True)
