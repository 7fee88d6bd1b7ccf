"""The only ctypes file: finds the native libraries, checks them, and turns their status into exceptions.

A library is loaded when it is first used, never at import. `csrc/fastwave.h` says what each function does.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import json
import re
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BackendUnavailable, FastwaveError, GenerationError, InputError, NativeError
from .abi import (
    ABI_VERSION,
    FLAGS,
    FRONT_ACTIVATIONS,
    HEAD_WEIGHTS,
    INSTRUCTION_SETS,
    KERNELS,
    OUTPUTS,
    SIGNATURES,
    STACK_WEIGHTS,
    STRUCTURES,
    TYPES,
    WEIGHTS,
    Library,
    Status,
)

__all__ = [
    "FRONT_ACTIVATIONS", "HEAD_WEIGHTS", "INSTRUCTION_SETS", "KERNELS", "OUTPUTS", "STACK_WEIGHTS", "TYPES", "WEIGHTS",
]  # fmt: skip

FOLDER = Path(__file__).parents[1]

_EXCEPTIONS: dict[int, type[FastwaveError]] = {
    Status.INVALID_ARGUMENT: InputError,
    Status.UNSUPPORTED: BackendUnavailable,
    Status.NO_DRIVER: BackendUnavailable,
    Status.DRIVER_TOO_OLD: BackendUnavailable,
    Status.NO_DEVICE: BackendUnavailable,
    Status.NOT_FINITE: GenerationError,
}  # all others are NativeError

_NUMBERS: dict[str, Any] = {
    "int32": ctypes.c_int32,
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "pointer": ctypes.c_void_p,
    "text": ctypes.c_char_p,
}


def _field_type(word: str) -> Any:
    """The ctypes type of a field, from its word in `abi`."""
    text = re.fullmatch(r"char\[(\d+)\]", word)
    return ctypes.c_char * int(text[1]) if text else _NUMBERS[word]


_STRUCTURES: dict[str, Any] = {
    name: type(name, (ctypes.Structure,), {"_fields_": [(field, _field_type(word)) for field, word in fields]})
    for name, fields in STRUCTURES.items()
}


def _argument_type(word: str) -> Any:
    """The ctypes type of an argument, from its word in `abi`."""
    if word in _STRUCTURES:
        return ctypes.POINTER(_STRUCTURES[word])
    return ctypes.POINTER(_NUMBERS[word[:-1]]) if word.endswith("*") else _NUMBERS[word]


@dataclasses.dataclass(frozen=True)
class CpuFeatures:
    """What the processor has and the operating system allows, and which of our INSTRUCTION_SETS run on it."""

    flags: frozenset[str]
    instruction_sets: tuple[str, ...]
    best: str


@dataclasses.dataclass(frozen=True)
class CudaDevice:
    """One CUDA device; sizes in bytes."""

    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    shared_per_block: int
    l2: int
    memory: int


def missing(library: Library) -> str | None:
    """Why a library cannot be used here, with the cure; None when it can."""
    try:
        _open(library)
    except FastwaveError as error:
        return str(error)
    return None


def build_info(library: Library) -> dict[str, Any]:
    """How a library was built: compiler, version, instruction sets or CUDA toolkit and architectures."""
    info: dict[str, Any] = json.loads(_text(getattr(_open(library), f"fw_build_info_{library}")))
    return info


def cpu_features() -> CpuFeatures:
    """What the processor under this process can run."""
    features = _STRUCTURES["Features"]()
    _call("cpu", "fw_features_cpu", features)
    return CpuFeatures(
        flags=frozenset(flag for flag in FLAGS if getattr(features, flag)),
        instruction_sets=tuple(name for bit, name in enumerate(INSTRUCTION_SETS) if features.usable_isas >> bit & 1),
        best=INSTRUCTION_SETS[features.best_isa],
    )


def read_bandwidth(size: int, *, seconds: float = 0.2, instruction_set: str | None = None) -> float:
    """Bytes a second at which one core reads a buffer of `size` bytes again and again, in the best pass."""
    result = ctypes.c_double()
    _call("cpu", "fw_read_bandwidth_cpu", _isa(instruction_set), size, seconds, result)
    return result.value


def multiply_add_peak(dtype: str = "float32", *, seconds: float = 0.2, instruction_set: str | None = None) -> float:
    """Operations a second (a multiply-add is two) of one core in registers, for bfloat16 and int8 in dot products."""
    result = ctypes.c_double()
    _call("cpu", "fw_multiply_add_peak_cpu", _isa(instruction_set), _index("dtype", dtype, TYPES), seconds, result)
    return result.value


class CpuEngine:
    """A native engine: packed weights and threads that sleep between runs, freed with the last reference."""

    def __init__(
        self,
        sizes: Mapping[str, int],
        dilations: Sequence[int],
        pointers: Mapping[str, int],
        dtype: str,
        threads: int,
        instruction_set: str | None = None,
    ) -> None:
        """`sizes` are the fields of fw_model_t; `pointers` lead to float32 weights, needed only during this call."""
        model, _held = _model(sizes, dilations, pointers)
        handle, isa, kind = ctypes.c_void_p(), _isa(instruction_set), _index("dtype", dtype, TYPES)
        _call("cpu", "fw_engine_create_cpu", model, isa, kind, threads, handle)
        self._handle = handle
        self._lock = threading.Lock()  # a native engine runs one job at a time
        # not when the process ends, which frees all memory anyway: a daemon thread may be in a run then
        weakref.finalize(self, _call, "cpu", "fw_engine_destroy_cpu", handle.value).atexit = False

    def prime(self, **fields: Any) -> None:
        """Compute the memory after the tokens that the fields of fw_run_t give; csrc/fastwave.h says which it reads."""
        with self._lock:
            _call("cpu", "fw_engine_prime_cpu", self._handle.value, _STRUCTURES["Run"](**fields))

    def settle(self, settled: bool) -> None:
        """Keep to the fastest schedule measured so far, and try no other; settled=False allows trials again."""
        with self._lock:
            _call("cpu", "fw_engine_settle_cpu", self._handle.value, int(settled))

    def run(self, **fields: Any) -> None:
        """One fw_run_t; pointers are integers. The caller keeps alive what they lead to."""
        with self._lock:
            _call("cpu", "fw_engine_run_cpu", self._handle.value, _STRUCTURES["Run"](**fields))


@dataclasses.dataclass(frozen=True)
class CudaPlan:
    """How a CUDA engine runs a number of streams; sizes in bytes."""

    kernel: str  # of KERNELS
    reason: str  # why this kernel was chosen
    blocks_per_cluster: int  # 0: no cluster
    layer_blocks: int  # how many blocks of a cluster hold layers, in the order of the layers
    streams_per_block: int  # per cluster where there is one
    blocks: int
    shared: int  # shared memory of a block; 0: the model is too wide for it and uses the workspace
    workspace: int  # memory that the caller allocates for a run


class CudaEngine:
    """A native engine on a device: packed weights, freed with the last reference."""

    def __init__(
        self,
        sizes: Mapping[str, int],
        dilations: Sequence[int],
        pointers: Mapping[str, int],
        dtype: str,
        device: int,
        kernel: str = "auto",
    ) -> None:
        """As for CpuEngine, with weights on the host; `kernel` is one of KERNELS."""
        model, _held = _model(sizes, dilations, pointers)
        handle, choice = ctypes.c_void_p(), _index("kernel", kernel, KERNELS)
        _call("cuda", "fw_engine_create_cuda", model, device, _index("dtype", dtype, TYPES), choice, handle)
        self._handle = handle
        weakref.finalize(self, _open("cuda").fw_engine_destroy_cuda, handle.value).atexit = False  # as for CpuEngine

    def plan(self, streams: int) -> CudaPlan:
        """How a run of this many streams will be launched."""
        plan = _STRUCTURES["Plan"]()
        _call("cuda", "fw_engine_plan_cuda", self._handle.value, streams, plan)
        return CudaPlan(
            KERNELS[plan.kernel],
            plan.reason.decode(),
            plan.blocks_per_cluster,
            plan.layer_blocks,
            plan.streams_per_block,
            plan.blocks,
            plan.shared_bytes,
            plan.workspace_bytes,
        )

    def run(self, workspace: int, cuda_stream: int, **fields: Any) -> None:
        """One fw_run_t on a CUDA stream; pointers are integers. The caller keeps alive what they lead to."""
        _call("cuda", "fw_engine_run_cuda", self._handle.value, _STRUCTURES["Run"](**fields), workspace, cuda_stream)


def noise(seed: int, stream: int, first: int, count: int, draws: int, destination: int) -> None:
    """The uniforms of `fastwave.noise`, drawn natively into float32 [count, draws] at `destination`."""
    _call("cpu", "fw_noise_cpu", seed, stream, first, count, draws, destination)


class ResidualStack:
    """One residual stack over whole sequences; every pointer leads to contiguous memory that the caller keeps alive."""

    def __init__(
        self, sizes: Mapping[str, int], dilations: Sequence[int], dtype: str, threads: int, instruction_set: str | None
    ) -> None:
        """`sizes` are the integers of fw_stack_t; `dtype` is that of the matrix products."""
        self._array = _int64s(dilations)
        self._stack = _STRUCTURES["Stack"](**sizes)
        self._stack.dilations = ctypes.addressof(self._array)
        self._options = (_isa(instruction_set), _index("dtype", dtype, TYPES), threads)

    def forward(self, skip_sum: int, **pointers: int | None) -> None:
        """`pointers` are the other fields of fw_stack_t."""
        self._point(pointers)
        _call("cpu", "fw_residual_stack_forward_cpu", self._stack, *self._options, skip_sum)

    def backward(self, grad: int, gradients: Mapping[str, int | None], **pointers: int | None) -> None:
        """`gradients` are the fields of fw_stack_gradients_t."""
        self._point(pointers)
        to = _STRUCTURES["StackGradients"](**gradients)
        _call("cpu", "fw_residual_stack_backward_cpu", self._stack, *self._options, grad, to)

    def _point(self, pointers: Mapping[str, int | None]) -> None:
        for field, pointer in pointers.items():
            setattr(self._stack, field, pointer)


def head_loss(
    output: str,
    sizes: Mapping[str, int],
    gradients: Mapping[str, int | None],
    dtype: str,
    threads: int,
    instruction_set: str | None = None,
    **pointers: int,
) -> float:
    """The weighted sum of the nats of all rows; `output` is one of OUTPUTS. `sizes` and `pointers` are the other
    fields of fw_head_t, `gradients` those of fw_head_gradients_t.
    """
    loss, to = ctypes.c_double(), _STRUCTURES["HeadGradients"](**gradients)
    head = _STRUCTURES["Head"](**sizes, output=OUTPUTS.index(output), **pointers)
    options = (_isa(instruction_set), _index("dtype", dtype, TYPES), threads)
    _call("cpu", "fw_head_loss_cpu", head, *options, loss, to)
    return loss.value


def cuda_devices() -> list[CudaDevice]:
    """The CUDA devices that this process sees, at least one; where there is none, BackendUnavailable says why."""
    count = ctypes.c_int32()
    _call("cuda", "fw_device_count_cuda", count)
    return [_cuda_device(index) for index in range(count.value)]


def no_cuda_device() -> str:
    """Why there is no CUDA device; empty when there is one."""
    try:
        cuda_devices()
    except FastwaveError as error:
        return str(error)
    return ""


def _cuda_device(index: int) -> CudaDevice:
    device = _STRUCTURES["Device"]()
    _call("cuda", "fw_device_cuda", index, device)
    return CudaDevice(
        name=device.name.decode(),
        compute_capability=(device.compute_major, device.compute_minor),
        multiprocessors=device.multiprocessors,
        shared_per_block=device.shared_bytes_per_block,
        l2=device.l2_bytes,
        memory=device.memory_bytes,
    )


def _int64s(numbers: Sequence[int]) -> Any:
    return (ctypes.c_int64 * len(numbers))(*numbers)


def _model(sizes: Mapping[str, int], dilations: Sequence[int], pointers: Mapping[str, int]) -> tuple[Any, Any]:
    """A fw_model_t, and its dilations, which must live as long as it is in use."""
    array = _int64s(dilations)
    weights = {field: pointers[name] for field, name in WEIGHTS.items() if name in pointers}  # others are null
    return _STRUCTURES["Model"](**sizes, **weights, dilations=ctypes.addressof(array)), array


def _isa(name: str | None) -> int:
    return (
        INSTRUCTION_SETS.index(cpu_features().best)
        if name is None
        else _index("instruction set", name, INSTRUCTION_SETS)
    )


def _index(kind: str, name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise InputError(f"{kind} {name!r} is not known; choose one of {', '.join(names)}.")
    return names.index(name)


def _call(library: Library, name: str, *arguments: Any) -> None:
    """Call a C function, and raise the error that its status means; ctypes objects are passed by reference."""
    handle = _open(library)
    passed = [a if isinstance(a, int | float) else ctypes.byref(a) for a in arguments]
    status = getattr(handle, name)(*passed)
    if status != Status.OK:
        raise _EXCEPTIONS.get(status, NativeError)(_text(handle.fw_last_error))


def _text(function: Callable[..., int]) -> str:
    length = ctypes.c_int64()
    function(None, 0, ctypes.byref(length))
    buffer = ctypes.create_string_buffer(length.value + 1)
    status = function(buffer, len(buffer), None)
    if status != Status.OK:
        raise NativeError(f"a text of the native library could not be read: status {status}")
    return buffer.value.decode()


def give_back_memory() -> None:
    """Return freed memory to the system. glibc keeps it for the thread that took it, however long that needs none."""
    with contextlib.suppress(AttributeError, TypeError):  # another C library returns it by itself; Windows has no None
        ctypes.CDLL(None).malloc_trim(0)


def path_of(library: Library) -> Path:
    """Where a library is, if it was built."""
    return FOLDER / f"libfastwave_{library}{'.dylib' if sys.platform == 'darwin' else '.so'}"


@functools.cache
def _open(library: Library) -> ctypes.CDLL:
    path = path_of(library)
    if not path.exists():
        raise BackendUnavailable(_why_absent(library))
    try:
        handle = ctypes.CDLL(str(path))
        version = handle.fw_abi_version()
        if version != ABI_VERSION:
            raise NativeError(
                f"{path} has ABI {version}, this fastwave needs {ABI_VERSION}: another version left it there. "
                "Reinstall fastwave."
            )
        for name, arguments in SIGNATURES[library].items():
            function = getattr(handle, name)
            function.argtypes = [_argument_type(word) for word in arguments]
            function.restype = ctypes.c_int32
    except (OSError, AttributeError) as error:  # not loadable here, or without a function that it should have
        raise NativeError(f"{path} cannot be used: {error}. Reinstall fastwave on this machine.") from error
    return handle


def _why_absent(library: Library) -> str:
    if library == "cpu":
        cure = 'Install fastwave (in a checkout: pip install -e .), or use backend="reference".'
        return f"libfastwave_cpu is not in {FOLDER}. {cure}"
    reason = build_info("cpu")["cuda_absent"]
    if reason:
        return f'libfastwave_cuda was not built ({reason}). Reinstall with FASTWAVE_CUDA=ON, or use backend="cpu".'
    return f'libfastwave_cuda was built but is not in {FOLDER}. Reinstall fastwave, or use backend="cpu".'
