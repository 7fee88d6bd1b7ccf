"""A killed training run resumes as if nothing had happened."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills by pidfd: Linux")


@pytest.mark.slow
def test_runs_killed_twenty_times_end_bit_identical():
    """200 on request: python tests/helpers/survival.py --kills 200. A process of its own: it forks."""
    script = Path(__file__).parents[1] / "helpers/survival.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "20", "--seed", "1"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "bit-identical" in done.stdout
