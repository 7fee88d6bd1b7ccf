"""`fastwave train`, but process 1 is killed at its sixth step, once. For test_parallel.py, under torchrun."""

import os
import signal
import sys
from pathlib import Path

from fastwave.cli.main import main
from fastwave.training import loop

MARK, ARGUMENTS = Path(sys.argv[1]), sys.argv[2:]
one_step = loop.Loop._one_step


def step_or_die(self):
    if self.group.rank == 1 and self.step == 5 and not MARK.exists():
        MARK.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    one_step(self)


loop.Loop._one_step = step_or_die
sys.argv = ["fastwave", *ARGUMENTS]
sys.exit(main(ARGUMENTS))
