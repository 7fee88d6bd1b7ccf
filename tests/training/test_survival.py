"""A killed training run resumes as if nothing had happened."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills by pidfd: Linux")


@pytest.mark.slow
def test_runs_killed_twenty_times_end_bit_identical():
    """For 200 kills: python tests/helpers/survival.py --kills 200. It forks, so pytest starts it as a process."""
    script = Path(__file__).parents[1] / "helpers/survival.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "20", "--seed", "1"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "bit-identical" in done.stdout
