"""A prover whose process is proof_scenarios.py, for the tests of what follows from a proof."""

import json
import sys
from pathlib import Path

from fastwave.runtime.prover import Limits, Prover

SCENARIOS = Path(__file__).with_name("proof_scenarios.py")
LIMITS = Limits(start=20.0, subject=1.0, compiled=1.0, total=40.0)


def prover(folder, faults, limits=LIMITS):
    """Every process writes the subjects that it is asked for to `folder`/starts, a line each."""
    command = [sys.executable, "-S", str(SCENARIOS), json.dumps(faults), str(folder / "starts")]
    return Prover(limits, "quick", command)


def starts(folder):
    """The subjects of every process that was started."""
    path = folder / "starts"
    return path.read_text().splitlines() if path.exists() else []
