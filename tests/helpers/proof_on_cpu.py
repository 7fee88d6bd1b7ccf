"""The process of a proof on a stand-in for the GPU: proof_on_cpu.py LIBRARY FAULTS SECONDS DEVICE DEPTH SUBJECT...

Generation runs on the CUDA sources compiled for the CPU in the folder LIBRARY, training in Triton's interpreter, which
needs TRITON_INTERPRET=1. FAULTS is JSON: the fault that is planted in a subject, by its name.
"""

import contextlib
import ctypes
import json
import os
import sys
import threading
from pathlib import Path

import pytest
import torch

import on_cpu
from fastwave.config import WaveNetConfig
from fastwave.proof import process
from fastwave.proof.candidates import Candidate, of_generation, of_training
from fastwave.proof.generation import Shape
from fastwave.proof.training import Case

SMALL = WaveNetConfig(
    residual_channels=20, gate_channels=12, skip_channels=24, head_channels=20, classes=40, dilations=(1, 3, 2),
    condition_channels=3, hop=4,
)  # fmt: skip
TINY = WaveNetConfig(residual_channels=4, classes=5, dilations=(1, 2))
SMALL_CASE = Case(2, 20, 16, 18, 20, 3, 2, (1, 4))


def fast(subject):
    """A race that the subject wins: the stand-in is a hundred times slower than the CPU engine."""
    return {"1 stream of a stand-in": {subject.backend: 200.0, "cpu": 100.0}}


def off_in_one_element(tensor, by):
    tensor.flatten()[tensor.numel() // 3] += by * float(tensor.abs().max())
    return tensor


@contextlib.contextmanager
def fault_in(subject, fault, machine):
    """While the block runs, the kernel of a subject has this fault."""
    with pytest.MonkeyPatch.context() as patch:
        if subject.role == "training":
            plant_in_training(patch, fault, 200 if subject.dtype == "bfloat16" else 1)
        else:
            plant_in_generation(patch, fault, machine, 200 if subject.kernel == "cluster" else 1)
        yield


def plant_in_training(patch, fault, size):
    """`size` is that of a fault in thousandths: a smaller one is within the rounding of the dtype."""
    from fastwave.kernels import residual_stack

    backward, forward = residual_stack.backward, residual_stack.forward

    def broken_backward(*arguments):
        gradients = backward(*arguments)
        off_in_one_element(gradients["skip_weight"], size * 1e-3 if fault == "gradient" else float("nan"))
        return gradients

    def broken_forward(*arguments):
        skip_sum, *saved = forward(*arguments)
        unwritten = torch.empty_like(skip_sum)
        skip_sum[0, 5] = unwritten[0, 5]
        return skip_sum, *saved

    if fault in ("gradient", "nan"):
        patch.setattr(residual_stack, "backward", broken_backward)
    elif fault == "unwritten":
        patch.setattr(residual_stack, "forward", broken_forward)


def plant_in_generation(patch, fault, machine, size):
    """`size` as for plant_in_training."""
    from fastwave.engine import native
    from fastwave.engine.cuda import CudaEngine

    feed, run, create = native.NativeEngine.feed, native.NativeEngine.run, CudaEngine.__init__

    def broken_feed(engine, *arguments):
        outputs = feed(engine, *arguments)
        if not isinstance(engine, CudaEngine):
            return outputs
        if fault == "hang":
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        if fault == "crash":
            ctypes.string_at(0)
        if fault == "abort":
            os.abort()
        if fault == "no memory":
            raise torch.OutOfMemoryError("no room")
        return off_in_one_element(outputs, size * 1e-3 if fault == "number" else float("nan"))

    def broken_run(engine, *arguments):
        drawn = run(engine, *arguments)
        if isinstance(engine, CudaEngine):
            drawn[0, 7] = (drawn[0, 7] + 5) % engine.config.classes
        return drawn

    def broken_weight(engine, config, parameters, *arguments):
        parameters = {name: parameter.clone() for name, parameter in parameters.items()}
        parameters["dilated.weight"][1, 0, :, 3] += size * 1e-3
        create(engine, config, parameters, *arguments)

    if fault in ("number", "nan", "hang", "crash", "abort", "no memory"):
        patch.setattr(native.NativeEngine, "feed", broken_feed)
    elif fault == "draw":
        patch.setattr(native.NativeEngine, "run", broken_run)
    elif fault == "tap":
        patch.setattr(CudaEngine, "__init__", broken_weight)
    elif fault == "device":
        machine.answer("cudaLaunchKernelEx", 719)  # from now on, in this process, as with a broken context


def make(faults, machine):
    """The candidates of a subject on the stand-in."""

    def candidate(subject, depth):
        fault = faults.get(str(subject), "")
        if subject.role == "generation":
            whole = of_generation(subject, [Shape("a small model", SMALL, 3)], Shape("a tiny model", TINY, 2))
        else:
            whole = of_training(subject, {"a small stack": SMALL_CASE}, ("a small stack", SMALL_CASE), depth, "cpu")

        def check(check):
            with fault_in(subject, fault, machine):
                return check()

        contest = whole.contest if fault == "slow" else lambda: fast(subject)
        return Candidate([lambda each=each: check(each) for each in whole.checks], contest)

    return candidate


def main():
    folder, faults, *arguments = sys.argv[1:]
    torch.set_num_threads(1)
    machine = on_cpu.use(Path(folder), pytest.MonkeyPatch()) if folder else None
    process.main(arguments, make(json.loads(faults), machine))


if __name__ == "__main__":
    main()
