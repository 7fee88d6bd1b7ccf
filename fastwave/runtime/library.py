"""The only ctypes file: finds the native libraries, checks them, and turns their status into exceptions.

A library is loaded when it is first used, never at import. `csrc/fastwave.h` says what each function does.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import functools
import json
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from ctypes import POINTER, c_char, c_char_p, c_double, c_float, c_int32, c_int64, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Literal

from ..errors import BackendUnavailable, FastwaveError, GenerationError, InputError, NativeError

Library = Literal["cpu", "cuda"]

ABI_VERSION = 7
INSTRUCTION_SETS = ("portable", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx")  # FW_ISA_*, a ladder
TYPES = ("float32", "bfloat16", "int8")  # FW_FLOAT32, ...
KERNELS = ("auto", "general", "cluster", "cluster-unfolded")  # FW_KERNEL_AUTO, ...
OUTPUTS = ("categorical", "mixture-of-logistics", "gaussian")  # FW_CATEGORICAL, ...
FOLDER = Path(__file__).parents[1]


class Status(enum.IntEnum):
    """What a native function returns: FW_*."""

    OK = 0
    INVALID_ARGUMENT = 1
    BUFFER_TOO_SMALL = 2
    OUT_OF_MEMORY = 3
    UNSUPPORTED = 4
    INTERNAL = 5
    NO_DRIVER = 6
    DRIVER_TOO_OLD = 7
    NO_DEVICE = 8
    DEVICE_FAILED = 9
    NOT_FINITE = 10


_EXCEPTIONS: dict[int, type[FastwaveError]] = {
    Status.INVALID_ARGUMENT: InputError,
    Status.UNSUPPORTED: BackendUnavailable,
    Status.NO_DRIVER: BackendUnavailable,
    Status.DRIVER_TOO_OLD: BackendUnavailable,
    Status.NO_DEVICE: BackendUnavailable,
    Status.NOT_FINITE: GenerationError,
}  # all others are NativeError

_FLAGS = (
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16"),
    *("amx_tile", "amx_bf16", "amx_int8", "neon"),
)


class _Features(ctypes.Structure):
    _fields_ = [(flag, c_int32) for flag in _FLAGS] + [("usable_isas", c_int32), ("best_isa", c_int32)]


class _Device(ctypes.Structure):
    _fields_ = [
        ("name", c_char * 256),
        ("compute_major", c_int32),
        ("compute_minor", c_int32),
        ("multiprocessors", c_int32),
        ("shared_bytes_per_block", c_int32),
        ("l2_bytes", c_int64),
        ("memory_bytes", c_int64),
    ]


# Weights of a model by the field of fw_model_t that points to them
WEIGHTS = {
    "front": "front.weight",
    "dilated": "dilated.weight",
    "dilated_bias": "dilated.bias",
    "residual_weight": "residual.weight",
    "residual_bias": "residual.bias",
    "skip_weight": "skip.weight",
    "skip_bias": "skip.bias",
    "head0": "head.0.weight",
    "head0_bias": "head.0.bias",
    "head1": "head.1.weight",
    "head1_bias": "head.1.bias",
}


class _Model(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("residual", "gate", "skip", "head", "outputs", "taps", "front_taps", "layers")),
        ("classes", c_int64),
        ("output", c_int32),
        ("reserved", c_int32),
        ("dilations", c_void_p),
        *((name, c_void_p) for name in WEIGHTS),
    ]


class _Run(ctypes.Structure):
    _fields_ = [
        ("streams", c_int64),
        ("samples", c_int64),
        *((name, c_void_p) for name in ("times", "ids", "memory", "last_classes", "last_values")),
        ("projected", c_void_p),
        ("first_frame", c_void_p),
        ("frames", c_int64),
        ("hop", c_int64),
        ("linear", c_int32),
        ("top_k", c_int32),
        ("seed", c_uint64),
        ("noise", c_void_p),
        ("temperature", c_float),
        ("top_p", c_float),
        *((name, c_void_p) for name in ("given_classes", "given_values", "drawn_classes", "drawn_values", "outputs")),
        ("failed_stream", c_int64),
        ("failed_time", c_int64),
    ]


# Arguments of the residual stack by the fields of fw_stack_t and fw_stack_gradients_t that point to them
STACK_WEIGHTS = (
    *("dilated", "dilated_bias", "residual_weight", "residual_bias", "skip_weight", "skip_bias", "condition_weight"),
)


class _Stack(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("batch", "time", "residual", "gate", "skip", "condition", "taps", "layers")),
        ("dilations", c_void_p),
        *((name, c_void_p) for name in STACK_WEIGHTS),
        *((name, c_void_p) for name in ("input", "conditioning", "streams", "gates")),
    ]


class _StackGradients(ctypes.Structure):
    _fields_ = [(name, c_void_p) for name in ("input", *STACK_WEIGHTS, "conditioning")]


# Arguments of the head with its loss, by the fields of fw_head_t and fw_head_gradients_t that point to them
HEAD_WEIGHTS = ("weight0", "bias0", "weight1", "bias1")


class _Head(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("rows", "skip", "head", "outputs")),
        *((name, c_void_p) for name in (*HEAD_WEIGHTS, "skip_sum", "targets", "weights")),
    ]


class _HeadGradients(ctypes.Structure):
    _fields_ = [(name, c_void_p) for name in ("skip_sum", *HEAD_WEIGHTS)]


class _Plan(ctypes.Structure):
    _fields_ = [
        ("kernel", c_int32),
        ("blocks_per_cluster", c_int32),
        ("layer_blocks", c_int32),
        ("reserved", c_int32),
        *((name, c_int64) for name in ("streams_per_block", "blocks", "shared_bytes", "workspace_bytes")),
        ("reason", c_char * 256),
    ]


_TEXT = (c_char_p, c_int64, POINTER(c_int64))
_BOTH: dict[str, tuple[Any, ...]] = {"fw_abi_version": (), "fw_last_error": _TEXT}

# The arguments of every function; each returns an int32.
SIGNATURES: dict[Library, dict[str, tuple[Any, ...]]] = {
    "cpu": {
        **_BOTH,
        "fw_build_info_cpu": _TEXT,
        "fw_features_cpu": (POINTER(_Features),),
        "fw_read_bandwidth_cpu": (c_int32, c_int64, c_double, POINTER(c_double)),
        "fw_multiply_add_peak_cpu": (c_int32, c_int32, c_double, POINTER(c_double)),
        "fw_engine_create_cpu": (POINTER(_Model), c_int32, c_int32, c_int32, POINTER(c_void_p)),
        "fw_engine_destroy_cpu": (c_void_p,),
        "fw_engine_memory_cpu": (c_void_p, POINTER(c_int64)),
        "fw_engine_prime_cpu": (c_void_p, POINTER(_Run)),
        "fw_engine_settle_cpu": (c_void_p, c_int32),
        "fw_engine_run_cpu": (c_void_p, POINTER(_Run)),
        "fw_noise_cpu": (c_uint64, c_int64, c_int64, c_int64, c_int64, c_void_p),
        "fw_residual_stack_forward_cpu": (POINTER(_Stack), c_int32, c_int32, c_int32, c_void_p),
        "fw_residual_stack_backward_cpu": (
            *(POINTER(_Stack), c_int32, c_int32, c_int32, c_void_p),
            POINTER(_StackGradients),
        ),
        "fw_head_loss_cpu": (POINTER(_Head), c_int32, c_int32, c_int32, POINTER(c_double), POINTER(_HeadGradients)),
    },
    "cuda": {
        **_BOTH,
        "fw_build_info_cuda": _TEXT,
        "fw_device_count_cuda": (POINTER(c_int32),),
        "fw_device_cuda": (c_int32, POINTER(_Device)),
        "fw_engine_create_cuda": (POINTER(_Model), c_int32, c_int32, c_int32, POINTER(c_void_p)),
        "fw_engine_destroy_cuda": (c_void_p,),
        "fw_engine_plan_cuda": (c_void_p, c_int64, POINTER(_Plan)),
        "fw_engine_run_cuda": (c_void_p, POINTER(_Run), c_void_p, c_void_p),
    },
}


@dataclasses.dataclass(frozen=True)
class CpuFeatures:
    """What the processor has and the operating system allows, and the instruction sets of ours that run on it."""

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
    found = _Features()
    _call("cpu", "fw_features_cpu", found)
    return CpuFeatures(
        flags=frozenset(flag for flag in _FLAGS if getattr(found, flag)),
        instruction_sets=tuple(name for bit, name in enumerate(INSTRUCTION_SETS) if found.usable_isas >> bit & 1),
        best=INSTRUCTION_SETS[found.best_isa],
    )


def read_bandwidth(size: int, *, seconds: float = 0.2, instruction_set: str | None = None) -> float:
    """Bytes a second at which one core reads a working set of `size` bytes again and again; the best pass counts."""
    result = c_double()
    _call("cpu", "fw_read_bandwidth_cpu", _isa(instruction_set), size, seconds, result)
    return result.value


def multiply_add_peak(dtype: str = "float32", *, seconds: float = 0.2, instruction_set: str | None = None) -> float:
    """Operations a second (a multiply-add is two) of one core in registers; bfloat16 and int8 are dot products."""
    result = c_double()
    _call("cpu", "fw_multiply_add_peak_cpu", _isa(instruction_set), _index("dtype", dtype, TYPES), seconds, result)
    return result.value


class CpuEngine:
    """A native engine: packed weights and sleeping threads, given back when the last reference goes."""

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
        model = _Model(**sizes, **{field: pointers[name] for field, name in WEIGHTS.items()})
        array = (c_int64 * len(dilations))(*dilations)
        model.dilations = ctypes.addressof(array)
        handle = c_void_p()
        isa, kind = _isa(instruction_set), _index("dtype", dtype, TYPES)
        _call("cpu", "fw_engine_create_cpu", model, isa, kind, threads, handle)
        self._handle = handle
        self._lock = threading.Lock()  # a native engine runs one job at a time
        weakref.finalize(self, _call, "cpu", "fw_engine_destroy_cpu", handle.value)

    def prime(self, **fields: Any) -> None:
        """One fw_run_t that gives tokens: the memory after them, as the C header says."""
        with self._lock:
            _call("cpu", "fw_engine_prime_cpu", self._handle.value, _Run(**fields))

    def settle(self, settled: bool) -> None:
        """Whether the engine keeps to the fastest schedule that it has measured, and tries no other."""
        with self._lock:
            _call("cpu", "fw_engine_settle_cpu", self._handle.value, int(settled))

    def run(self, **fields: Any) -> None:
        """One fw_run_t; pointers are integers. The caller keeps alive what they lead to."""
        with self._lock:
            _call("cpu", "fw_engine_run_cpu", self._handle.value, _Run(**fields))


@dataclasses.dataclass(frozen=True)
class CudaPlan:
    """How a CUDA engine runs so many streams; sizes in bytes."""

    kernel: str  # of KERNELS
    reason: str  # for this kernel
    blocks_per_cluster: int  # 0: no cluster
    layer_blocks: int  # of these, so many hold the layers, one after the other
    streams_per_block: int  # or per cluster
    blocks: int
    shared: int  # of a block; 0: too wide for it, the scratch is in the workspace
    workspace: int


class CudaEngine:
    """A native engine on a device: packed weights, given back when the last reference goes."""

    def __init__(
        self,
        sizes: Mapping[str, int],
        dilations: Sequence[int],
        pointers: Mapping[str, int],
        dtype: str,
        device: int,
        kernel: str = "auto",
    ) -> None:
        """As CpuEngine; the weights are on the host. kernel: of KERNELS."""
        model = _Model(**sizes, **{field: pointers[name] for field, name in WEIGHTS.items()})
        array = (c_int64 * len(dilations))(*dilations)
        model.dilations = ctypes.addressof(array)
        handle, kernels = c_void_p(), _index("kernel", kernel, KERNELS)
        _call("cuda", "fw_engine_create_cuda", model, device, _index("dtype", dtype, TYPES), kernels, handle)
        self._handle = handle
        weakref.finalize(self, _open("cuda").fw_engine_destroy_cuda, handle.value)

    def plan(self, streams: int) -> CudaPlan:
        """How a run of so many streams will be launched."""
        plan = _Plan()
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

    def run(self, workspace: int, stream: int, **fields: Any) -> None:
        """One fw_run_t on a CUDA stream; pointers are integers. The caller keeps alive what they lead to."""
        _call("cuda", "fw_engine_run_cuda", self._handle.value, _Run(**fields), workspace, stream)


def noise(seed: int, stream: int, first: int, count: int, draws: int, destination: int) -> None:
    """The uniforms of `fastwave.noise`, drawn natively into float32 [count, draws] at `destination`."""
    _call("cpu", "fw_noise_cpu", seed, stream, first, count, draws, destination)


class ResidualStack:
    """One residual stack over whole sequences; every pointer leads to contiguous memory that the caller keeps alive."""

    def __init__(
        self, sizes: Mapping[str, int], dilations: Sequence[int], dtype: str, threads: int, instruction_set: str | None
    ) -> None:
        """`sizes` are the integers of fw_stack_t; `dtype` is that of the products."""
        self._array = (c_int64 * len(dilations))(*dilations)
        self._stack = _Stack(**sizes)
        self._stack.dilations = ctypes.addressof(self._array)
        self._how = (_isa(instruction_set), _index("dtype", dtype, TYPES), threads)

    def forward(self, skip_sum: int, **pointers: int | None) -> None:
        """`pointers` are the other fields of fw_stack_t."""
        self._point(pointers)
        _call("cpu", "fw_residual_stack_forward_cpu", self._stack, *self._how, skip_sum)

    def backward(self, grad: int, gradients: Mapping[str, int | None], **pointers: int | None) -> None:
        """`gradients` are the fields of fw_stack_gradients_t."""
        self._point(pointers)
        to = _StackGradients(**gradients)
        _call("cpu", "fw_residual_stack_backward_cpu", self._stack, *self._how, grad, to)

    def _point(self, pointers: Mapping[str, int | None]) -> None:
        for field, pointer in pointers.items():
            setattr(self._stack, field, pointer)


def head_loss(
    sizes: Mapping[str, int],
    gradients: Mapping[str, int | None],
    dtype: str,
    threads: int,
    instruction_set: str | None = None,
    **pointers: int,
) -> float:
    """The weighted sum of the nats of all rows. `sizes` and `pointers` are the fields of fw_head_t, `gradients` those
    of fw_head_gradients_t.
    """
    loss = c_double()
    how = (_isa(instruction_set), _index("dtype", dtype, TYPES), threads)
    _call("cpu", "fw_head_loss_cpu", _Head(**sizes, **pointers), *how, loss, _HeadGradients(**gradients))
    return loss.value


def cuda_devices() -> list[CudaDevice]:
    """The CUDA devices this process sees, never none: BackendUnavailable says why there is none."""
    count = c_int32()
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
    device = _Device()
    _call("cuda", "fw_device_cuda", index, device)
    return CudaDevice(
        name=device.name.decode(),
        compute_capability=(device.compute_major, device.compute_minor),
        multiprocessors=device.multiprocessors,
        shared_per_block=device.shared_bytes_per_block,
        l2=device.l2_bytes,
        memory=device.memory_bytes,
    )


def _isa(name: str | None) -> int:
    return (
        INSTRUCTION_SETS.index(cpu_features().best)
        if name is None
        else _index("instruction set", name, INSTRUCTION_SETS)
    )


def _index(what: str, name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise InputError(f"{what} {name!r} is not known; choose one of {', '.join(names)}.")
    return names.index(name)


def _call(library: Library, name: str, *arguments: Any) -> None:
    """Call a function of the boundary; ctypes objects among the arguments are passed by reference."""
    handle = _open(library)
    passed = [a if isinstance(a, int | float) else ctypes.byref(a) for a in arguments]
    status = getattr(handle, name)(*passed)
    if status != Status.OK:
        raise _EXCEPTIONS.get(status, NativeError)(_text(handle.fw_last_error))


def _text(function: Callable[..., int]) -> str:
    length = c_int64()
    function(None, 0, ctypes.byref(length))
    buffer = ctypes.create_string_buffer(length.value + 1)
    status = function(buffer, len(buffer), None)
    if status != Status.OK:
        raise NativeError(f"a native text could not be read: status {status}")
    return buffer.value.decode()


@functools.cache
def _open(library: Library) -> ctypes.CDLL:
    path = FOLDER / f"libfastwave_{library}{'.dylib' if sys.platform == 'darwin' else '.so'}"
    if not path.exists():
        raise BackendUnavailable(_why_absent(library))
    try:
        handle = ctypes.CDLL(str(path))
        version = handle.fw_abi_version()
        if version != ABI_VERSION:
            raise NativeError(
                f"{path} has ABI {version}, this fastwave needs {ABI_VERSION}: it is left from another version. "
                "Reinstall fastwave."
            )
        for name, arguments in SIGNATURES[library].items():
            function = getattr(handle, name)
            function.argtypes = arguments
            function.restype = c_int32
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
