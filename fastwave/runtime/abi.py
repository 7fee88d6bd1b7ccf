"""The C interface of the native libraries as plain tables: `csrc/fastwave.h` says what each function does.

A type is a word: "int32", "int64", "uint64", "float", "double", "char[256]", "pointer" (to anything), "text" (a buffer
of characters), "Model" (a pointer to that structure) or "int32*" (a pointer to a number that the function writes).
`library` turns these words into ctypes, and a test compares the tables with the header.
"""

from __future__ import annotations

import enum
from typing import Literal

Library = Literal["cpu", "cuda"]
Fields = tuple[tuple[str, str], ...]  # (name, type)

ABI_VERSION = 12
INSTRUCTION_SETS = ("portable", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx", "neon_dotprod")  # FW_ISA_*
TYPES = ("float32", "bfloat16", "int8")  # FW_FLOAT32, ...
KERNELS = ("auto", "general", "cluster", "cluster-unfolded")  # FW_KERNEL_AUTO, ...
OUTPUTS = ("categorical", "mixture-of-logistics", "gaussian")  # FW_CATEGORICAL, ...
FRONT_ACTIVATIONS = ("none", "relu", "tanh")  # FW_NONE, ...


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


# The processor's features, by the fields of fw_features_t
FLAGS = (
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16"),
    *("amx_tile", "amx_bf16", "amx_int8", "neon", "neon_dotprod"),
)

# Weights of a model by the field of fw_model_t that points to them
WEIGHTS = {
    "front": "front.weight",
    "front_bias": "front.bias",
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

# Arguments of the residual stack by the fields of fw_stack_t and fw_stack_gradients_t that point to them
STACK_WEIGHTS = (
    *("dilated", "dilated_bias", "residual_weight", "residual_bias", "skip_weight", "skip_bias", "condition_weight"),
)

# Arguments of the head with its loss, by the fields of fw_head_t and fw_head_gradients_t that point to them
HEAD_WEIGHTS = ("weight0", "bias0", "weight1", "bias1")


def _all(kind: str, *names: str) -> Fields:
    return tuple((name, kind) for name in names)


STRUCTURES: dict[str, Fields] = {
    "Features": _all("int32", *FLAGS, "usable_isas", "best_isa"),
    "Device": (
        ("name", "char[256]"),
        *_all("int32", "compute_major", "compute_minor", "multiprocessors", "shared_bytes_per_block"),
        *_all("int64", "l2_bytes", "memory_bytes"),
    ),
    "Model": (
        *_all("int64", "residual", "gate", "skip", "head", "outputs", "taps", "front_taps", "layers", "classes"),
        *_all("int32", "output", "front_activation"),
        *_all("pointer", "dilations", *WEIGHTS),
    ),
    "Run": (
        *_all("int64", "streams", "samples"),
        *_all("pointer", "times", "ids", "memory", "last_classes", "last_values", "projected", "first_frame"),
        *_all("int64", "frames", "hop"),
        ("excitation", "pointer"),
        *_all("int32", "linear", "top_k"),
        ("seed", "uint64"),
        ("noise", "pointer"),
        *_all("float", "temperature", "top_p"),
        *_all("pointer", "given_classes", "given_values", "drawn_classes", "drawn_values", "outputs"),
        *_all("int64", "failed_stream", "failed_time"),
    ),
    "Stack": (
        *_all("int64", "batch", "time", "residual", "gate", "skip", "condition", "taps", "layers", "first"),
        *_all("pointer", "dilations", *STACK_WEIGHTS, "input", "conditioning"),
        *_all("pointer", "layer_inputs", "tanh_sigmoid", "history"),
    ),
    "StackGradients": _all("pointer", "input", *STACK_WEIGHTS, "conditioning"),
    "Head": (
        *_all("int64", "rows", "skip", "head", "outputs"),
        ("output", "int32"),
        *_all("pointer", *HEAD_WEIGHTS, "skip_sum", "target_classes", "target_values", "weights"),
    ),
    "HeadGradients": _all("pointer", "skip_sum", *HEAD_WEIGHTS),
    "Plan": (
        *_all("int32", "kernel", "blocks_per_cluster", "layer_blocks", "reserved"),
        *_all("int64", "streams_per_block", "blocks", "shared_bytes", "workspace_bytes"),
        ("reason", "char[256]"),
    ),
}

# Arguments of a function that returns text (buffer, its size, the length of the text); functions of both libraries
_TEXT = ("text", "int64", "int64*")
_BOTH: dict[str, tuple[str, ...]] = {"fw_abi_version": (), "fw_last_error": _TEXT}

# The arguments of every function; each returns an int32.
SIGNATURES: dict[Library, dict[str, tuple[str, ...]]] = {
    "cpu": {
        **_BOTH,
        "fw_build_info_cpu": _TEXT,
        "fw_features_cpu": ("Features",),
        "fw_read_bandwidth_cpu": ("int32", "int64", "double", "double*"),
        "fw_multiply_add_peak_cpu": ("int32", "int32", "double", "double*"),
        "fw_engine_create_cpu": ("Model", "int32", "int32", "int32", "pointer*"),
        "fw_engine_destroy_cpu": ("pointer",),
        "fw_engine_memory_cpu": ("pointer", "int64*"),
        "fw_engine_prime_cpu": ("pointer", "Run"),
        "fw_engine_settle_cpu": ("pointer", "int32"),
        "fw_engine_run_cpu": ("pointer", "Run"),
        "fw_noise_cpu": ("uint64", "int64", "int64", "int64", "int64", "pointer"),
        "fw_residual_stack_forward_cpu": ("Stack", "int32", "int32", "int32", "pointer"),
        "fw_residual_stack_backward_cpu": ("Stack", "int32", "int32", "int32", "pointer", "StackGradients"),
        "fw_head_loss_cpu": ("Head", "int32", "int32", "int32", "double*", "HeadGradients"),
    },
    "cuda": {
        **_BOTH,
        "fw_build_info_cuda": _TEXT,
        "fw_device_count_cuda": ("int32*",),
        "fw_device_cuda": ("int32", "Device"),
        "fw_engine_create_cuda": ("Model", "int32", "int32", "int32", "pointer*"),
        "fw_engine_destroy_cuda": ("pointer",),
        "fw_engine_plan_cuda": ("pointer", "int64", "Plan"),
        "fw_engine_run_cuda": ("pointer", "Run", "pointer", "pointer"),
    },
}
