"""Compiles every kernel of a training step on a machine without a GPU, and reads off registers, spills and memory."""

from __future__ import annotations

import re
import subprocess
import tempfile
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fastwave.kernels import residual_stack
from fastwave.reference import StackWeights


def compile_ahead(
    architecture: int,
    config: Any,
    products: residual_stack.Products,
    dtype: torch.dtype = torch.float32,
    recompute: bool = False,
    thorough: bool = True,
) -> list[dict[str, Any]]:
    """Compile the kernels of one training step for sm_<architecture>, without a GPU.

    config has the fields of `WaveNetConfig` that shape the stack; x and the weights are of dtype. With thorough, every
    launch is compiled with every tile. Without it, each only with the tile that needs the most registers and shared
    memory, and of launches that differ in optional parts (the boolean constants) only the one with the most parts.
    -> one record for each: name, constants, warps, stages, registers, spill_bytes (the whole stack, which only spills
    use), shared_bytes
    """
    seen: dict[str, tuple[int, Any, dict[str, str], dict[str, Any]]] = {}

    def record(kernel: Any, grid: Any, arguments: dict[str, Any], constants: dict[str, Any]) -> None:
        types = {name: triton_type(value) for name, value in arguments.items()}
        parts = sum(value for value in constants.values() if isinstance(value, bool))
        sizes = [value for value in constants.values() if not isinstance(value, bool)]
        key = repr((kernel.__name__, types, constants) if thorough else (kernel.__name__, sizes))
        if key not in seen or seen[key][0] < parts:
            seen[key] = parts, kernel, types, constants

    def triton_type(value: Any) -> str:
        if isinstance(value, Tensor):
            return {torch.float32: "*fp32", torch.bfloat16: "*bf16"}[value.dtype]
        return "constexpr" if value is None else "i32"

    L, K, R, G = len(config.dilations), config.kernel_size, config.residual_channels, config.gate_channels
    S, C = config.skip_channels, config.condition_channels

    def tensor(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    weights = StackWeights(
        tensor(L, K, R, 2 * G), tensor(L, 2 * G), tensor(L - 1, G, R), tensor(L - 1, R), tensor(L, G, S), tensor(S),
        tensor(L, C, 2 * G) if C else None,
    )  # fmt: skip
    x, condition = tensor(2, 1024, R), tensor(2, 1024, C) if C else None
    dilations, needed = config.dilations, ("x", "condition", *StackWeights._fields)
    skip_sum, *saved = residual_stack.forward(x, weights, condition, dilations, products, recompute, record)
    residual_stack.backward(skip_sum, *saved, weights, condition, dilations, products, needed, record)
    tiles = slice(None) if thorough else slice(-1, None)
    return [
        _compiled(architecture, kernel, types, {**constants, **tile.kwargs}, tile)
        for _, kernel, types, constants in seen.values()
        for tile in residual_stack.configs(kernel, constants, architecture)[tiles]
    ]


def _compiled(
    architecture: int, kernel: Any, types: dict[str, str], constants: dict[str, Any], tile: triton.Config
) -> dict[str, Any]:
    names = kernel.arg_names
    absent = {name: None for name, kind in types.items() if kind == "constexpr"}
    signature = {name: types.get(name, "constexpr") for name in names}
    aligned = {(index,): [["tt.divisibility", 16]] for index, name in enumerate(names) if signature[name][0] == "*"}
    source = ASTSource(kernel, signature, {**constants, **absent}, aligned)
    options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages, "maxnreg": tile.maxnreg}
    options["enable_fp_fusion"] = True
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", cubin.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    figures = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", usage))
    return {
        "name": kernel.__name__, "constants": constants, "warps": tile.num_warps, "stages": tile.num_stages,
        "registers": int(figures["REG"]), "spill_bytes": int(figures["STACK"]) + int(figures["LOCAL"]),
        "shared_bytes": compiled.metadata.shared,
    }  # fmt: skip
