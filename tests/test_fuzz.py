"""Loading a file never runs code, never crashes, never eats the machine."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "helpers/fuzz_inputs.py"


def fuzz(*options):
    return subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, timeout=600)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the memory limit is read from /proc")
def test_thousands_of_damaged_files_load_or_are_refused():
    run = fuzz("--count", "23000")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "23000 inputs, 0 failures" in run.stdout
    for kind in ("config", "weights", "state", "wav", "flac", "ogg", "mp3"):
        refused = next(line for line in run.stdout.splitlines() if line.startswith(f"{kind} refused"))
        assert int(refused.split()[-1]) > 1000  # the damage is real
