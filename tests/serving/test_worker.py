"""The thread that advances streams ends before Python does."""

import subprocess
import sys

ENDED = """
import atexit, threading
from fastwave.serving.worker import Worker

class Endless(Worker):
    def advance(self, streams):
        begun.set()

class Stream:
    is_over, wants_more = False, True

def say():
    print([thread.name for thread in threading.enumerate()])

begun, worker = threading.Event(), Endless("endless")
atexit.register(say)  # before that of the worker, so that it is called after it
worker.add(Stream())
begun.wait()
say()
"""


def test_the_thread_of_a_stream_that_has_no_end_ends_before_python(tmp_path):
    """Torch aborts a process that ends while a thread is in one of its functions."""
    run = subprocess.run([sys.executable, "-c", ENDED], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    lines = ["['MainThread', 'fastwave endless']", "['MainThread']"]
    assert (run.returncode, run.stdout.splitlines(), run.stderr) == (0, lines, "")
