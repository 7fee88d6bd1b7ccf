"""The fused residual stack in Triton: `fastwave/reference.py: residual_stack` without history, forward and backward.

One kernel launch a layer forward, five to seven backward. Kept for backward are the input of every layer and z, or the
input alone (recompute), with products "bfloat16" in bfloat16. The residual stream and its gradient pass from layer to
layer in float32, out of place: two buffers a pass, so that a tuning run spoils nothing.
"""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fastwave.errors import BackendUnavailable
from fastwave.kernels import gated_layer

Products = Literal["float32", "tf32", "bfloat16"]
Launch = Callable[[Any, Any, dict[str, Any], dict[str, Any]], None]  # kernel, grid, arguments, constants

NAMES = (
    "x", "dilated_weight", "dilated_bias", "residual_weight", "residual_bias", "skip_weight", "skip_bias",
    "condition", "condition_weight",
)  # fmt: skip
PRECISIONS = {"float32": "ieee", "tf32": "tf32", "bfloat16": "bfloat16"}

# BLOCK_T, warps, stages by precision; the last takes the most registers and shared memory.
TILES = {
    "ieee": ((32, 8, 3), (32, 4, 3), (64, 8, 3)),
    "tf32": ((64, 8, 2), (64, 8, 3), (64, 4, 2), (64, 4, 3), (128, 8, 2), (128, 8, 3)),
    "bfloat16": ((64, 8, 2), (64, 8, 3), (64, 4, 2), (64, 4, 3), (128, 8, 2), (128, 8, 3)),
}
SUMS_A_THREAD = {80: 64, 90: 128}  # of 255 registers; tensor cores before sm_90 hold their operands there too
BLOCK = {"ieee": 32, "tf32": 64, "bfloat16": 128}  # output channels of a program, at most
ROWS = {"ieee": 32, "tf32": 32, "bfloat16": 64}  # time steps that a weight gradient adds at once
PROGRAMS = 264  # of a weight gradient: two for each of 132 multiprocessors
PARTIALS = 2**25  # float32 numbers in the partial sums of one parameter: 128 MiB


def forward(
    x: Tensor, dilated_weight: Tensor, dilated_bias: Tensor, residual_weight: Tensor, residual_bias: Tensor,
    skip_weight: Tensor, skip_bias: Tensor, condition: Tensor | None, condition_weight: Tensor | None,
    dilations: Sequence[int], products: Products, recompute: bool, launch: Launch | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Shapes as in `reference.residual_stack`; x and weights float32 or bfloat16, each its own.

    -> skip_sum [B, T, S] in the dtype of x; streams [L, B, T, R], the input of every layer; gates [B, T, L*G], that is
    z of every layer, or with `recompute` nothing: backward then computes it again
    """
    with _alone_on(x, launch):
        stack = _Stack(
            x, dilated_weight, dilated_bias, residual_weight, residual_bias, skip_weight,
            condition, condition_weight, dilations, products, launch or _launch,
        )  # fmt: skip
        layers, G = stack.layers, stack.G
        group = max(1, min(layers, stack.S // G)) if recompute else layers  # z of a group is as wide as the skip sum
        gates = stack.rows(group * G)
        streams = stack.rows(stack.R, leading=(layers,))
        streams[0].copy_(x)
        carry: Tensor | None = x.contiguous()
        skip_sum: Tensor | None = None
        for layer in range(layers):
            place = layer % group
            carry = stack.layer_forward(layer, streams, carry, gates[..., place * G :])
            if place + 1 == group or layer + 1 == layers:
                weight = stack.skip_weight[layer - place : layer + 1].reshape(-1, stack.S)
                dtype = x.dtype if layer + 1 == layers else torch.float32
                skip_sum = stack.skip_product(gates[..., : (place + 1) * G], weight, skip_bias, skip_sum, dtype)
        assert skip_sum is not None
        return skip_sum, streams, gates.new_empty(0) if recompute else gates


def backward(
    grad: Tensor, streams: Tensor, gates: Tensor,
    dilated_weight: Tensor, dilated_bias: Tensor, residual_weight: Tensor, residual_bias: Tensor,
    skip_weight: Tensor, skip_bias: Tensor, condition: Tensor | None, condition_weight: Tensor | None,
    dilations: Sequence[int], products: Products, wanted: Sequence[bool], launch: Launch | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients of x, dilated_weight, dilated_bias, residual_weight, residual_bias, skip_weight, skip_bias, condition
    and condition_weight, each in the dtype of its own, from that of the skip sum, grad [B, T, S].

    streams and gates as `forward` returned them; one not `wanted`, or of an absent condition, is an empty tensor
    """
    with _alone_on(grad, launch):
        stack = _Stack(
            streams[0], dilated_weight, dilated_bias, residual_weight, residual_bias, skip_weight,
            condition, condition_weight, dilations, products, launch or _launch,
        )  # fmt: skip
        layers, taps, R, G, C = stack.layers, stack.taps, stack.R, stack.G, stack.C
        want = dict(zip(NAMES, wanted, strict=True))
        dilated = _WeightSums(stack, (layers, taps, R, 2 * G), want["dilated_weight"], want["dilated_bias"])
        residual = _WeightSums(stack, (layers - 1, G, R), want["residual_weight"], want["residual_bias"])
        skip = _WeightSums(stack, (layers, G, stack.S), want["skip_weight"])
        conditional = _WeightSums(stack, (layers, C, 2 * G), want["condition_weight"] and C > 0)
        skip_grad = stack.operand(grad)
        recomputed = None if gates.numel() else stack.rows(G)
        dpre = stack.rows(2 * G)
        dx: Tensor | None = None
        dcondition: Tensor | None = None
        for layer in reversed(range(layers)):
            z, z_stride = (recomputed, G) if recomputed is not None else (gates[..., layer * G :], layers * G)
            stack.gate_backward(layer, skip_grad, dx, streams[layer], recomputed, dpre)
            dilated.add(layer, streams[layer], R, dpre, stack.dilations[layer])
            if dx is not None:
                residual.add(layer, z, z_stride, dx)
            skip.add(layer, z, z_stride, skip_grad)
            conditional.add(layer, stack.condition, C, dpre)
            if condition is not None and want["condition"]:
                dtype = torch.float32 if layer else condition.dtype
                dcondition = stack.product(dpre, stack.condition_weight[layer, None], dcondition, dtype)
            if layer or want["x"]:
                dtype = torch.float32 if layer else grad.dtype
                dx = stack.product(dpre, stack.dilated_weight[layer], dx, dtype, stack.dilations[layer])
        found: tuple[tuple[Tensor | None, Any], ...] = (
            (dx if want["x"] else None, grad),
            (dilated.weights(), dilated_weight),
            (dilated.biases(), dilated_bias),
            (residual.weights(), residual_weight),
            (residual.biases(), residual_bias),
            (skip.weights(), skip_weight),
            (grad.contiguous().sum((0, 1), dtype=torch.float32) if want["skip_bias"] else None, skip_bias),
            (dcondition, condition),
            (conditional.weights(), condition_weight),
        )
        return tuple(grad.new_empty(0) if each is None else each.to(like.dtype) for each, like in found)


class _Stack:
    """The sizes and operands of one call, and how each kernel is launched on them."""

    def __init__(
        self, x: Tensor, dilated_weight: Tensor, dilated_bias: Tensor, residual_weight: Tensor, residual_bias: Tensor,
        skip_weight: Tensor, condition: Tensor | None, condition_weight: Tensor | None,
        dilations: Sequence[int], products: Products, launch: Launch,
    ) -> None:  # fmt: skip
        self.launch, self.precision = launch, PRECISIONS[products]
        self.saved = torch.bfloat16 if products == "bfloat16" else torch.float32
        self.batch, self.steps, self.device = *x.shape[:2], x.device
        self.layers, self.taps, self.R = dilated_weight.shape[:3]
        self.G, self.S = skip_weight.shape[1:]
        self.C = 0 if condition is None else condition.shape[2]
        self.dilations = [min(dilation, self.steps) for dilation in dilations]  # from T on every older tap is padding
        self.dilated_weight, self.dilated_bias = self.operand(dilated_weight), dilated_bias.float().contiguous()
        self.residual_weight, self.residual_bias = self.operand(residual_weight), residual_bias.float().contiguous()
        self.skip_weight = self.operand(skip_weight)
        self.condition: Any = None if condition is None else self.operand(condition)
        self.condition_weight: Any = None if condition_weight is None or not self.C else self.operand(condition_weight)

    def operand(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.saved).contiguous()

    def rows(self, width: int, dtype: torch.dtype | None = None, leading: tuple[int, ...] = ()) -> Tensor:
        """[*leading, B, T, width], unwritten"""
        return torch.empty(*leading, self.batch, self.steps, width, dtype=dtype or self.saved, device=self.device)

    def layer_forward(self, layer: int, streams: Tensor, carry: Tensor | None, gates: Tensor) -> Tensor | None:
        """Writes z of the layer to gates and its output to streams; -> the output in float32, None of the last layer"""
        residual = layer + 1 < self.layers
        following = streams[layer + 1] if residual else None
        next_carry = following if self.saved == torch.float32 or not residual else self.rows(self.R, torch.float32)
        most = BLOCK[self.precision]
        most = min(most, 64) if most < self.G else most  # z read back needs registers of its own
        arguments = self.preactivation(layer, streams[layer]) | {
            "carry": carry, "next_stream": following, "gates": gates,
            "next_carry": None if next_carry is following else next_carry,
            "residual_weight": self.residual_weight[layer] if residual else None,
            "residual_bias": self.residual_bias[layer] if residual else None,
        }  # fmt: skip
        constants = self.shape() | {
            "GATES_STRIDE": gates.stride(1), "RESIDUAL": residual, "CARRY": next_carry is not following,
            "BLOCK_G": _block(self.G, most), "BLOCK_R": _block(self.R, most),
        }  # fmt: skip
        self.launch(gated_layer.layer_forward, self.grid(1), arguments, constants)
        return next_carry

    def gate_backward(
        self, layer: int, grad: Tensor, upstream: Tensor | None, stream: Tensor, gates: Tensor | None, dpre: Tensor
    ) -> None:
        """Writes dpre of the layer, and z to gates where they are given."""
        arguments = self.preactivation(layer, stream) | {
            "grad": grad, "upstream": upstream, "gates": gates, "dpre": dpre, "skip_weight": self.skip_weight[layer],
            "residual_weight": None if upstream is None else self.residual_weight[layer],
        }  # fmt: skip
        block = _block(self.G, min(64, BLOCK[self.precision]))  # three sums live at once, not two
        constants = self.shape() | {
            "S": self.S, "RESIDUAL": upstream is not None, "WRITE_GATES": gates is not None,
            "BLOCK_G": block, "CHUNK_S": _chunk(self.S, self.precision),
        }  # fmt: skip
        self.launch(gated_layer.gate_backward, self.grid(-(-self.G // block)), arguments, constants)

    def product(
        self, source: Tensor, weight: Tensor, carry: Tensor | None, dtype: torch.dtype, dilation: int = 1
    ) -> Tensor:
        """carry[t] + sum_k source[t + (K-1-k)*dilation] @ weight[k]^T; weight [K, N, D] -> [B, T, N] in dtype"""
        taps, N, D = weight.shape
        block = _block(N, BLOCK[self.precision])
        out = self.rows(N, dtype)
        arguments = {"source": source, "weight": weight, "carry": carry, "out": out}
        constants = {
            "TAPS": taps, "D": D, "N": N, "STRIDE": source.stride(1), "CARRY": carry is not None,
            "PRECISION": self.precision, "BLOCK_N": block, "CHUNK_D": _chunk(D, self.precision),
        }  # fmt: skip
        grid = self.grid(-(-N // block))
        self.launch(gated_layer.transposed_product, grid, arguments | self.times(dilation), constants)
        return out

    def skip_product(
        self, z: Tensor, weight: Tensor, bias: Tensor, before: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """before (or the bias) + z @ weight; z [B, T, k*G], weight [k*G, S]"""
        if self.precision != "bfloat16":  # torch would take its TF32 from a global switch
            start = before if before is not None else bias.float().expand(self.batch, self.steps, -1).contiguous()
            return self.product(z, weight.t().contiguous()[None], start, dtype)
        if before is None and dtype == torch.bfloat16:
            flat = torch.addmm(bias.to(dtype), z.reshape(-1, weight.shape[0]), weight)
            return flat.view(self.batch, self.steps, self.S)
        return ((bias.float() if before is None else before) + z @ weight).to(dtype)

    def preactivation(self, layer: int, stream: Tensor) -> dict[str, Any]:
        return self.times(self.dilations[layer]) | {
            "stream": stream, "weight": self.dilated_weight[layer], "bias": self.dilated_bias[layer],
            "condition": self.condition,
            "condition_weight": self.condition_weight[layer] if self.C else None,
        }  # fmt: skip

    def times(self, dilation: int) -> dict[str, int]:
        rows_class = min((self.batch * self.steps).bit_length() // 2, 10)  # tiles are timed anew for 4 times the rows
        return {"steps": self.steps, "dilation": dilation, "rows_class": rows_class}

    def shape(self) -> dict[str, Any]:
        return {
            "TAPS": self.taps, "R": self.R, "G": self.G, "C": self.C, "PRECISION": self.precision,
            "CHUNK_R": _chunk(self.R, self.precision), "CHUNK_C": _chunk(self.C, self.precision),
        }  # fmt: skip

    def grid(self, blocks: int) -> Callable[[Mapping[str, int]], tuple[int]]:
        return lambda meta: (self.batch * triton.cdiv(self.steps, meta["BLOCK_T"]) * blocks,)


class _WeightSums:
    """Partial sums of the gradient of one weight [L, (K,) M, N] and its bias [L, N], and their totals."""

    def __init__(self, stack: _Stack, shape: tuple[int, ...], weight: bool, bias: bool = False) -> None:
        self.stack, self.shape, self.want_weight, self.want_bias = stack, shape, weight, bias
        if not (weight or bias):
            return
        layers, (M, N) = shape[0], shape[-2:]
        taps = shape[1] if len(shape) == 4 else 1
        rows = ROWS[stack.precision]
        block_m, block_n = _block(M, min(64, BLOCK[stack.precision])), _block(N, 128 if rows == 64 else 64)
        self.tiles = taps * -(-M // block_m) * -(-N // block_n)
        self.bias_tiles = -(-N // block_n)
        # Shapes alone decide how a sum is split, so that every run and every machine adds in the same order.
        self.units = stack.batch * -(-stack.steps // rows)
        size = max(1, layers * taps * M * N)
        parts = max(1, min(self.units, -(-PROGRAMS // self.tiles), PARTIALS // size))
        self.partials = torch.empty(parts, *shape, dtype=torch.float32, device=stack.device)
        self.bias_partials = torch.empty(parts, layers, N, dtype=torch.float32, device=stack.device)
        self.constants = {
            "TAPS": taps, "M": M, "N": N, "BIAS": bias, "PRECISION": stack.precision,
            "BLOCK_M": block_m, "BLOCK_N": block_n, "ROWS": rows,
        }  # fmt: skip

    def add(self, layer: int, left: Tensor | None, left_stride: int, right: Tensor, dilation: int = 1) -> None:
        """The sums over time of left[t - (K-1-k)*dilation]^T right[t], and of right; left [B, T, M], right [B, T, N]"""
        if not (self.want_weight or self.want_bias):
            return
        parts = self.partials.shape[0]
        arguments = {
            "left": left, "right": right, "partials": self.partials[:, layer],
            "bias_partials": self.bias_partials[:, layer], "steps": self.stack.steps, "units": self.units,
            "dilation": dilation, "stride": self.partials.stride(0), "bias_stride": self.bias_partials.stride(0),
        }  # fmt: skip
        grid = (self.tiles + (self.bias_tiles if self.want_bias else 0), parts)
        self.stack.launch(gated_layer.weight_gradient, grid, arguments, self.constants | {"LEFT_STRIDE": left_stride})

    def weights(self) -> Tensor | None:
        return self.partials.sum(0) if self.want_weight else None

    def biases(self) -> Tensor | None:
        return self.bias_partials.sum(0) if self.want_bias else None


def configs(kernel: Any, constants: Mapping[str, Any], architecture: int) -> list[triton.Config]:
    """The tiles that may run a kernel of these constants: those whose sums fit the registers."""
    if kernel is gated_layer.weight_gradient:  # the order of its sums is fixed by shapes, never by a clock
        warps = 4 if constants["BLOCK_M"] * constants["BLOCK_N"] <= 4096 else 8
        return [triton.Config({}, num_warps=warps, num_stages=2)]
    if kernel is gated_layer.transposed_product:
        width = 2 * constants["BLOCK_N"]  # the sum and the carry
    else:
        width = (2 if kernel is gated_layer.layer_forward else 3) * constants["BLOCK_G"]
    most = SUMS_A_THREAD[90 if architecture >= 90 else 80]
    # Left alone, ptxas stops at 80 registers of float32 products for the sake of occupancy, and spills 8 to 24 bytes.
    registers = 128 if constants["PRECISION"] == "ieee" else None
    return [
        triton.Config({"BLOCK_T": rows}, num_warps=warps, num_stages=stages, maxnreg=registers)
        for rows, warps, stages in TILES[constants["PRECISION"]]
        if rows * width <= most * 32 * warps
    ]


def _launch(kernel: Any, grid: Any, arguments: dict[str, Any], constants: dict[str, Any]) -> None:
    """Run a kernel on the current stream, with the tiles that were fastest when it first ran on such a shape."""
    if gated_layer.INTERPRETED:
        tile = {} if kernel is gated_layer.weight_gradient else {"BLOCK_T": 128}  # 30 ms a program, whatever its size
        kernel[grid](**arguments, **constants, **tile)
    else:
        tuned = _tuned(kernel, tuple(constants.items()), torch.cuda.current_device())
        tuned[grid](**arguments, **constants, enable_fp_fusion=True)  # stated: its default changes in Triton 3.10


@functools.cache
def _tuned(kernel: Any, constants: tuple[tuple[str, Any], ...], device: int) -> Any:
    major, minor = torch.cuda.get_device_capability(device)
    tiles = configs(kernel, dict(constants), 10 * major + minor)
    return triton.autotune(configs=tiles, key=[] if len(tiles) == 1 else ["rows_class"])(kernel)


@contextlib.contextmanager
def _alone_on(x: Tensor, launch: Launch | None) -> Iterator[None]:
    """On the device of x, without gradients of its own or autocast's casts."""
    if launch is None and gated_layer.INTERPRETED and x.is_cuda:
        raise BackendUnavailable(
            f"triton: the kernels were imported under TRITON_INTERPRET=1, which runs them on the CPU, and got a tensor "
            f"on {x.device}. Unset it, or move the model to the CPU."
        )
    if launch is None and not gated_layer.INTERPRETED and not x.is_cuda:
        raise BackendUnavailable(
            f"triton: the kernels run on an NVIDIA GPU, and got a tensor on {x.device}. Move the model with "
            '.to("cuda"), or use backend="cpu".'
        )
    device = torch.cuda.device_of(x)  # type: ignore[no-untyped-call]
    with torch.no_grad(), device, torch.autocast("cuda" if x.is_cuda else "cpu", enabled=False):
        yield


def _block(width: int, most: int) -> int:
    """The power of two that covers `width`, from 16, the least that tl.dot takes, to `most`."""
    return max(16, min(most, 1 << (width - 1).bit_length()))


def _chunk(width: int, precision: str) -> int:
    """Steps in which a width is summed: 64, 32 or 16, the largest that adds at most a quarter of padding."""
    sizes = (16,) if precision == "ieee" else (64, 32, 16)  # without tensor cores operands fill the registers
    return next((size for size in sizes if -(-width // size) * size <= 1.25 * width), 16)


def compile_ahead(
    architecture: int,
    config: Any,
    products: Products,
    dtype: torch.dtype = torch.float32,
    recompute: bool = False,
    thorough: bool = True,
) -> list[dict[str, Any]]:
    """Compile the kernels of one training step for sm_<architecture>, without a GPU.

    config has the fields of `WaveNetConfig` that shape the stack; x and the weights are of dtype. Thorough is every
    tile of every launch; else the hungriest tile, and of launches that differ by a part left out the full one.
    -> a record each: name, constants, warps, stages, registers, spill_bytes (all stack: only spills lie there),
    shared_bytes
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
    shapes = [(2, 1024, R), (L, K, R, 2 * G), (L, 2 * G), (L - 1, G, R), (L - 1, R), (L, G, S), (S,)]
    shapes += [(2, 1024, C), (L, C, 2 * G)] if C else []
    tensors: list[Any] = [torch.empty(shape, dtype=dtype, device="meta") for shape in shapes]
    x, wd, bd, wr, br, ws, bs, c, wc = tensors + [None] * (9 - len(tensors))
    d = config.dilations
    kept = forward(x, wd, bd, wr, br, ws, bs, c, wc, d, products, recompute, record)
    backward(*kept, wd, bd, wr, br, ws, bs, c, wc, d, products, [True] * 9, record)
    return [
        _compiled(architecture, kernel, types, {**constants, **tile.kwargs}, tile)
        for _, kernel, types, constants in seen.values()
        for tile in configs(kernel, constants, architecture)[slice(None) if thorough else slice(-1, None)]
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
