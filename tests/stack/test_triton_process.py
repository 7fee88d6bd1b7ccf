"""Runs test_triton.py in a process where Triton is interpreted from its import on."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="test_triton.py runs in this process")
def test_the_kernels_are_right_on_the_interpreter():
    command = [sys.executable, "-m", "pytest", str(TESTS / "test_triton.py"), "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=1200, cwd=TESTS.parent,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert " passed" in run.stdout and "skipped" not in run.stdout, run.stdout[-1000:]
