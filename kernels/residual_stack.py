"""The fused residual stack in Triton: `fastwave/reference.py: residual_stack` without history, forward and backward.

The forward pass launches one kernel a layer, the backward pass five to seven. Saved for the backward pass are the input
of every layer and z, or with recompute the input alone; in bfloat16 if the products are. From layer to layer, the input
and its gradient are passed in float32, out of place, in two buffers: so the autotuner may run a kernel several times.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import triton
from torch import Tensor

from fastwave.errors import BackendUnavailable
from fastwave.kernels import gated_layer
from fastwave.reference import StackWeights

Products = Literal["float32", "tf32", "bfloat16"]
Launch = Callable[[Any, Any, dict[str, Any], dict[str, Any]], None]  # kernel, grid, arguments, constants

PRECISIONS = {"float32": "ieee", "tf32": "tf32", "bfloat16": "bfloat16"}

# BLOCK_T, warps, stages by precision; the last takes the most registers and shared memory.
TILES = {
    "ieee": ((32, 8, 3), (32, 4, 3), (64, 8, 3)),
    "tf32": ((64, 8, 2), (64, 8, 3), (64, 4, 2), (64, 4, 3), (128, 8, 2), (128, 8, 3)),
    "bfloat16": ((64, 8, 2), (64, 8, 3), (64, 4, 2), (64, 4, 3), (128, 8, 2), (128, 8, 3)),
}
SUMS_A_THREAD = {80: 64, 90: 128}  # float32 sums; of 255 registers, where tensor cores before sm_90 also hold operands
BLOCK = {"ieee": 32, "tf32": 64, "bfloat16": 128}  # output channels of a program, at most
ROWS = {"ieee": 32, "tf32": 32, "bfloat16": 64}  # time steps that a weight gradient adds at once
PROGRAMS = 264  # of a weight gradient: two for each of 132 multiprocessors
PARTIALS = 2**25  # float32 numbers in the partial sums of one parameter: 128 MiB


def saved(sizes: Any, dtype: torch.dtype, products: Products, recompute: bool) -> tuple[tuple[Any, torch.dtype], ...]:
    """Shape and dtype of what `forward` saves: layer_inputs, and z unless `recompute`; sizes is a StackSizes."""
    saved_dtype = _saved_dtype(products)
    z_shape = (0,) if recompute else (sizes.batch, sizes.time, sizes.layers * sizes.gate)
    return ((sizes.layers, sizes.batch, sizes.time, sizes.residual), saved_dtype), (z_shape, saved_dtype)


def forward(
    x: Tensor, weights: StackWeights, condition: Tensor | None, dilations: Sequence[int], products: Products,
    recompute: bool, launch: Launch | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Shapes as in `reference.residual_stack`; x and the weights are float32 or bfloat16, not necessarily alike.

    -> skip_sum [B, T, S] in the dtype of x; layer_inputs [L, B, T, R]; z [B, T, L*G] of all layers, or with `recompute`
    nothing: backward then computes it again
    """
    with _alone_on(x, launch):
        stack = _Stack(x, weights, condition, dilations, products, launch or _launch)
        layers, G = stack.layers, stack.G
        group = max(1, min(layers, stack.S // G)) if recompute else layers  # z of a group is as wide as the skip sum
        z = stack.rows(group * G)
        layer_inputs = stack.rows(stack.R, leading=(layers,))
        layer_inputs[0].copy_(x)
        carry: Tensor | None = x.contiguous()
        skip_sum: Tensor | None = None
        for layer in range(layers):
            place = layer % group
            carry = stack.layer_forward(layer, layer_inputs, carry, z[..., place * G :])
            if place + 1 == group or layer + 1 == layers:
                weight = stack.skip_weight[layer - place : layer + 1].reshape(-1, stack.S)
                dtype = x.dtype if layer + 1 == layers else torch.float32
                skip_sum = stack.skip_product(z[..., : (place + 1) * G], weight, weights.skip_bias, skip_sum, dtype)
        assert skip_sum is not None
        return skip_sum, layer_inputs, z.new_empty(0) if recompute else z


def backward(
    grad: Tensor, layer_inputs: Tensor, z: Tensor, weights: StackWeights, condition: Tensor | None,
    dilations: Sequence[int], products: Products, needed: Collection[str], launch: Launch | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """grad [B, T, S] is the gradient of the skip sum; layer_inputs and z are as `forward` returned them.

    -> the gradients of x, the weights and the condition that `needed` names, each in the dtype of its tensor
    """
    with _alone_on(grad, launch):
        stack = _Stack(layer_inputs[0], weights, condition, dilations, products, launch or _launch)
        layers, taps, R, G, C = stack.layers, stack.taps, stack.R, stack.G, stack.C
        dilated = _WeightSums(stack, (layers, taps, R, 2 * G), "dilated_weight" in needed, "dilated_bias" in needed)
        residual = _WeightSums(stack, (layers - 1, G, R), "residual_weight" in needed, "residual_bias" in needed)
        skip = _WeightSums(stack, (layers, G, stack.S), "skip_weight" in needed)
        conditional = _WeightSums(stack, (layers, C, 2 * G), "condition_weight" in needed and C > 0)
        skip_grad = stack.operand(grad)
        recomputed = None if z.numel() else stack.rows(G)
        dpre = stack.rows(2 * G)
        dx: Tensor | None = None
        dcondition: Tensor | None = None
        for layer in reversed(range(layers)):
            layer_z, z_stride = (recomputed, G) if recomputed is not None else (z[..., layer * G :], layers * G)
            stack.gate_backward(layer, skip_grad, dx, layer_inputs[layer], recomputed, dpre)
            dilated.add(layer, layer_inputs[layer], R, dpre, stack.dilations[layer])
            if dx is not None:
                residual.add(layer, layer_z, z_stride, dx)
            skip.add(layer, layer_z, z_stride, skip_grad)
            conditional.add(layer, stack.condition, C, dpre)
            if condition is not None and "condition" in needed:
                dtype = torch.float32 if layer else condition.dtype
                dcondition = stack.product(dpre, stack.condition_weight[layer, None], dcondition, dtype)
            if layer or "x" in needed:
                dtype = torch.float32 if layer else grad.dtype
                dx = stack.product(dpre, stack.dilated_weight[layer], dx, dtype, stack.dilations[layer])
        skip_bias = grad.contiguous().sum((0, 1), dtype=torch.float32) if "skip_bias" in needed else None
        gradients = {
            "x": dx if "x" in needed else None,
            "dilated_weight": dilated.weights(), "dilated_bias": dilated.biases(),
            "residual_weight": residual.weights(), "residual_bias": residual.biases(),
            "skip_weight": skip.weights(), "skip_bias": skip_bias,
            "condition": dcondition, "condition_weight": conditional.weights(),
        }  # fmt: skip
        tensors = {"x": grad, "condition": condition, **weights._asdict()}
        return {name: each.to(tensors[name].dtype) for name, each in gradients.items() if each is not None}


class _Stack:
    """The sizes and operands of one call, and how each kernel is launched on them."""

    def __init__(
        self, x: Tensor, weights: StackWeights, condition: Tensor | None, dilations: Sequence[int],
        products: Products, launch: Launch,
    ) -> None:  # fmt: skip
        self.launch, self.precision, self.saved_dtype = launch, PRECISIONS[products], _saved_dtype(products)
        self.batch, self.steps, self.device = *x.shape[:2], x.device
        self.layers, self.taps, self.R = weights.dilated_weight.shape[:3]
        self.G, self.S = weights.skip_weight.shape[1:]
        self.C = 0 if condition is None else condition.shape[2]
        self.dilations = [min(dilation, self.steps) for dilation in dilations]  # from T on, older taps are all padding
        self.dilated_weight = self.operand(weights.dilated_weight)
        self.dilated_bias = weights.dilated_bias.float().contiguous()
        self.residual_weight = self.operand(weights.residual_weight)
        self.residual_bias = weights.residual_bias.float().contiguous()
        self.skip_weight = self.operand(weights.skip_weight)
        self.condition: Any = None if condition is None else self.operand(condition)
        self.condition_weight: Any = None
        if weights.condition_weight is not None and self.C:
            self.condition_weight = self.operand(weights.condition_weight)

    def operand(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.saved_dtype).contiguous()

    def rows(self, width: int, dtype: torch.dtype | None = None, leading: tuple[int, ...] = ()) -> Tensor:
        """[*leading, B, T, width], unwritten"""
        return torch.empty(*leading, self.batch, self.steps, width, dtype=dtype or self.saved_dtype, device=self.device)

    def layer_forward(self, layer: int, layer_inputs: Tensor, carry: Tensor | None, z: Tensor) -> Tensor | None:
        """Writes z of the layer, and its output to layer_inputs; -> the output in float32, None of the last layer"""
        residual = layer + 1 < self.layers
        next_input = layer_inputs[layer + 1] if residual else None
        rounded = residual and self.saved_dtype != torch.float32
        next_carry = self.rows(self.R, torch.float32) if rounded else next_input
        most = BLOCK[self.precision]
        most = min(most, 64) if most < self.G else most  # z read back needs registers of its own
        arguments = self.preactivation(layer, layer_inputs[layer]) | {
            "carry": carry, "next_input": next_input, "z_out": z,
            "next_carry": None if next_carry is next_input else next_carry,
            "residual_weight": self.residual_weight[layer] if residual else None,
            "residual_bias": self.residual_bias[layer] if residual else None,
        }  # fmt: skip
        constants = self.shape() | {
            "Z_STRIDE": z.stride(1), "RESIDUAL": residual, "CARRY": next_carry is not next_input,
            "BLOCK_G": _block(self.G, most), "BLOCK_R": _block(self.R, most),
        }  # fmt: skip
        self.launch(gated_layer.layer_forward, self.grid(1), arguments, constants)
        return next_carry

    def gate_backward(
        self, layer: int, grad: Tensor, upstream: Tensor | None, layer_input: Tensor, z: Tensor | None, dpre: Tensor
    ) -> None:
        """Writes dpre of the layer, and its z where a buffer for it is passed."""
        arguments = self.preactivation(layer, layer_input) | {
            "grad": grad, "upstream": upstream, "z_out": z, "dpre": dpre, "skip_weight": self.skip_weight[layer],
            "residual_weight": None if upstream is None else self.residual_weight[layer],
        }  # fmt: skip
        block = _block(self.G, min(64, BLOCK[self.precision]))  # three sums live at once, not two
        constants = self.shape() | {
            "S": self.S, "RESIDUAL": upstream is not None, "WRITE_Z": z is not None,
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
        if self.precision != "bfloat16":  # in torch a global switch decides whether a product is TF32
            start = before if before is not None else bias.float().expand(self.batch, self.steps, -1).contiguous()
            return self.product(z, weight.t().contiguous()[None], start, dtype)
        if before is None and dtype == torch.bfloat16:
            flat = torch.addmm(bias.to(dtype), z.reshape(-1, weight.shape[0]), weight)
            return flat.view(self.batch, self.steps, self.S)
        return ((bias.float() if before is None else before) + z @ weight).to(dtype)

    def preactivation(self, layer: int, layer_input: Tensor) -> dict[str, Any]:
        return self.times(self.dilations[layer]) | {
            "layer_input": layer_input, "weight": self.dilated_weight[layer], "bias": self.dilated_bias[layer],
            "condition": self.condition,
            "condition_weight": self.condition_weight[layer] if self.C else None,
        }  # fmt: skip

    def times(self, dilation: int) -> dict[str, int]:
        rows_class = min((self.batch * self.steps).bit_length() // 2, 10)  # at 4 times the rows, tune again
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
        self.stack, self.shape, self.need_weight, self.need_bias = stack, shape, weight, bias
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
        if not (self.need_weight or self.need_bias):
            return
        parts = self.partials.shape[0]
        arguments = {
            "left": left, "right": right, "partials": self.partials[:, layer],
            "bias_partials": self.bias_partials[:, layer], "steps": self.stack.steps, "units": self.units,
            "dilation": dilation, "stride": self.partials.stride(0), "bias_stride": self.bias_partials.stride(0),
        }  # fmt: skip
        grid = (self.tiles + (self.bias_tiles if self.need_bias else 0), parts)
        self.stack.launch(gated_layer.weight_gradient, grid, arguments, self.constants | {"LEFT_STRIDE": left_stride})

    def weights(self) -> Tensor | None:
        return self.partials.sum(0) if self.need_weight else None

    def biases(self) -> Tensor | None:
        return self.bias_partials.sum(0) if self.need_bias else None


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
    if gated_layer.INTERPRETED:  # which costs time for each program: few of them
        tile = {} if kernel is gated_layer.weight_gradient else {"BLOCK_T": 128}  # 30 ms a program, of whatever size
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
    """On the device of x, with autograd and autocast switched off."""
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


def _saved_dtype(products: Products) -> torch.dtype:
    return torch.bfloat16 if products == "bfloat16" else torch.float32


def _block(width: int, most: int) -> int:
    """The power of two that covers `width`, from 16, the least that tl.dot takes, to `most`."""
    return max(16, min(most, 1 << (width - 1).bit_length()))


def _chunk(width: int, precision: str) -> int:
    """Channels that are summed at a time: 64, 32 or 16, the most of them that add at most a quarter of padding."""
    sizes = (16,) if precision == "ieee" else (64, 32, 16)  # without tensor cores operands fill the registers
    return next((size for size in sizes if -(-width // size) * size <= 1.25 * width), 16)
