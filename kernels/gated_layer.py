"""Triton kernels of one gated residual layer; `residual_stack.py` beside it runs them over a stack and is the entry.

Layouts and letters are those of `fastwave/reference.py`. Rows are the time steps of one batch entry; a program owns one
tile of them. Row offsets are int64, because rows times channels passes 2^31; offsets inside a tile are int32.
No kernel reads a buffer that it writes (but for its own rows of z, behind a barrier), so the autotuner may run a kernel
several times. `rows_class` is read by the autotuner alone.

PRECISION: "ieee" (float32 products), "tf32", or "bfloat16" (operands rounded to bfloat16, float32 sums).
"""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = triton.knobs.runtime.interpret  # as it was when the kernels below were defined
_INTERPRETED = tl.constexpr(INTERPRETED)


@triton.jit
def _nearest_bfloat16(values):
    """float32 rounded to bfloat16, stored in float32. For the interpreter, whose own conversion truncates."""
    bits = values.to(tl.float32).to(tl.uint32, bitcast=True)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).to(tl.uint32).to(tl.float32, bitcast=True)


@triton.jit
def _store(pointers, values, mask):
    if _INTERPRETED and pointers.dtype.scalar.element_ty == tl.bfloat16:
        values = _nearest_bfloat16(values)
    tl.store(pointers, values, mask=mask)


@triton.jit
def _multiply(left, right, total, PRECISION: tl.constexpr):
    """total + left @ right"""
    if PRECISION != "bfloat16":
        total = tl.dot(left, right, total, input_precision=PRECISION)
    elif _INTERPRETED:  # it multiplies the bit patterns of bfloat16 as integers
        total = tl.dot(_nearest_bfloat16(left), _nearest_bfloat16(right), total)
    else:
        total = tl.dot(left.to(tl.bfloat16), right.to(tl.bfloat16), total)
    return total


@triton.jit
def _tanh(x):
    """tanh, within 1 unit in the last place also near zero, where 1 - 2 / (1 + exp(2x)) loses all digits."""
    square = x * x
    # minimax of (tanh(x)/x - 1) / x^2 on |x| < 0.625, relative error 5e-9
    series = 0.02063255 - 0.00569738 * square
    series = 0.1333142 + square * (square * series - 0.0537378)
    near = x + x * square * (square * series - 0.33333281)
    far = 1 - 2 / (1 + tl.exp(2 * tl.abs(x)))
    return tl.where(tl.abs(x) < 0.625, near, tl.where(x < 0, -far, far))


@triton.jit
def _tile(steps, tile, BLOCK_T: tl.constexpr):
    """-> of the `tile`-th tile of rows: the int64 index of its first row, that row's time, and which rows exist."""
    tiles = tl.cdiv(steps, BLOCK_T)
    first = tile % tiles * BLOCK_T
    row = (tile // tiles).to(tl.int64) * steps + first
    return row, first, first + tl.arange(0, BLOCK_T) < steps


@triton.jit
def _load(base, row, STRIDE: tl.constexpr, columns, WIDTH: tl.constexpr, inside, BLOCK_T: tl.constexpr):
    """[BLOCK_T, columns] of a matrix with rows STRIDE apart, zeros where a row or a column is not there."""
    offsets = tl.arange(0, BLOCK_T)[:, None] * STRIDE + columns[None, :]
    return tl.load(base + row * STRIDE + offsets, mask=inside[:, None] & (columns < WIDTH)[None, :], other=0.0)


@triton.jit
def _preactivation(
    layer_input, weight, bias, condition, condition_weight, row, first, inside, columns, dilation,
    TAPS: tl.constexpr, R: tl.constexpr, G: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_G: tl.constexpr, CHUNK_R: tl.constexpr, CHUNK_C: tl.constexpr,
):  # fmt: skip
    """-> the filter half and the gate half of the preactivation, each [BLOCK_T, BLOCK_G]."""
    rows = tl.arange(0, BLOCK_T)
    exists = (columns < G)[None, :]
    filter_half = tl.zeros([BLOCK_T, BLOCK_G], tl.float32)
    gate_half = tl.zeros([BLOCK_T, BLOCK_G], tl.float32)
    CHUNKS: tl.constexpr = (R + CHUNK_R - 1) // CHUNK_R
    for step in range(TAPS * CHUNKS):  # one loop over taps and channels, so that loads are pipelined across taps too
        tap = step // CHUNKS
        channels = step % CHUNKS * CHUNK_R + tl.arange(0, CHUNK_R)
        shift = (TAPS - 1 - tap) * dilation.to(tl.int64)
        absent = tl.minimum(shift - first, BLOCK_T).to(tl.int32)  # rows before the start: zeros
        taps = _load(layer_input, row - shift, R, channels, R, inside & (rows >= absent), BLOCK_T)
        weights = weight + (tap * R + channels[:, None]) * (2 * G) + columns[None, :]
        mask = (channels < R)[:, None] & exists
        filter_half = _multiply(taps, tl.load(weights, mask=mask, other=0.0), filter_half, PRECISION)
        gate_half = _multiply(taps, tl.load(weights + G, mask=mask, other=0.0), gate_half, PRECISION)
    if C:
        for chunk in range(0, C, CHUNK_C):
            channels = chunk + tl.arange(0, CHUNK_C)
            values = _load(condition, row, C, channels, C, inside, BLOCK_T)
            weights = condition_weight + channels[:, None] * (2 * G) + columns[None, :]
            mask = (channels < C)[:, None] & exists
            filter_half = _multiply(values, tl.load(weights, mask=mask, other=0.0), filter_half, PRECISION)
            gate_half = _multiply(values, tl.load(weights + G, mask=mask, other=0.0), gate_half, PRECISION)
    filter_half += tl.load(bias + columns, mask=columns < G, other=0.0)[None, :]
    gate_half += tl.load(bias + G + columns, mask=columns < G, other=0.0)[None, :]
    return filter_half, gate_half


@triton.jit
def _write_z(
    z_out, layer_input, weight, bias, condition, condition_weight, row, first, inside, columns, dilation,
    TAPS: tl.constexpr, R: tl.constexpr, G: tl.constexpr, C: tl.constexpr, Z_STRIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_G: tl.constexpr, CHUNK_R: tl.constexpr, CHUNK_C: tl.constexpr,
):  # fmt: skip
    """z [BLOCK_T, BLOCK_G], also written to its place in z_out."""
    filter_half, gate_half = _preactivation(
        layer_input, weight, bias, condition, condition_weight, row, first, inside, columns, dilation,
        TAPS, R, G, C, PRECISION, BLOCK_T, BLOCK_G, CHUNK_R, CHUNK_C,
    )  # fmt: skip
    z = _tanh(filter_half) * tl.sigmoid(gate_half)
    offsets = tl.arange(0, BLOCK_T)[:, None] * Z_STRIDE + columns[None, :]
    _store(z_out + row * Z_STRIDE + offsets, z, inside[:, None] & (columns < G)[None, :])
    return z


@triton.jit(do_not_specialize=["steps", "dilation", "rows_class"])
def layer_forward(
    layer_input, carry, next_input, next_carry, z_out, weight, bias, condition, condition_weight,
    residual_weight, residual_bias, steps, dilation, rows_class,
    TAPS: tl.constexpr, R: tl.constexpr, G: tl.constexpr, C: tl.constexpr, Z_STRIDE: tl.constexpr,
    RESIDUAL: tl.constexpr, CARRY: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_G: tl.constexpr, BLOCK_R: tl.constexpr, CHUNK_R: tl.constexpr, CHUNK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """z = gate(taps of layer_input, condition), to z_out; with RESIDUAL, carry + z @ residual_weight + residual_bias.

    The sum goes to next_input, whose taps the next layer reads, and with CARRY also unrounded to next_carry.
    """
    row, first, inside = _tile(steps, tl.program_id(0), BLOCK_T)
    rows = tl.arange(0, BLOCK_T)[:, None]
    if G <= BLOCK_G:
        z = _write_z(
            z_out, layer_input, weight, bias, condition, condition_weight, row, first, inside,
            tl.arange(0, BLOCK_G),
            dilation, TAPS, R, G, C, Z_STRIDE, PRECISION, BLOCK_T, BLOCK_G, CHUNK_R, CHUNK_C,
        )  # fmt: skip
    else:
        for block in range(0, G, BLOCK_G):
            _write_z(
                z_out, layer_input, weight, bias, condition, condition_weight, row, first, inside,
                block + tl.arange(0, BLOCK_G),
                dilation, TAPS, R, G, C, Z_STRIDE, PRECISION, BLOCK_T, BLOCK_G, CHUNK_R, CHUNK_C,
            )  # fmt: skip
        tl.debug_barrier()  # the product below reads z that other warps of this program have stored
    if RESIDUAL:
        for block in range(0, R, BLOCK_R):
            outputs = block + tl.arange(0, BLOCK_R)
            mask = inside[:, None] & (outputs < R)[None, :]
            total = tl.zeros([BLOCK_T, BLOCK_R], tl.float32)
            for chunk in range(0, G, BLOCK_G):
                channels = chunk + tl.arange(0, BLOCK_G)
                weights = residual_weight + channels[:, None] * R + outputs[None, :]
                weights = tl.load(weights, mask=(channels < G)[:, None] & (outputs < R)[None, :], other=0.0)
                if G > BLOCK_G:  # a row of z wider than a block would not fit the registers: it is read back
                    z = _load(z_out, row, Z_STRIDE, channels, G, inside, BLOCK_T)
                total = _multiply(z, weights, total, PRECISION)
            total += tl.load(residual_bias + outputs, mask=outputs < R, other=0.0)[None, :]
            total += _load(carry, row, R, outputs, R, inside, BLOCK_T).to(tl.float32)
            offsets = row * R + (rows * R + outputs[None, :])
            _store(next_input + offsets, total, mask)
            if CARRY:
                tl.store(next_carry + offsets, total, mask=mask)


@triton.jit(do_not_specialize=["steps", "dilation", "rows_class"])
def gate_backward(
    grad, upstream, layer_input, z_out, dpre, weight, bias, condition, condition_weight, residual_weight, skip_weight,
    steps, dilation, rows_class,
    TAPS: tl.constexpr, R: tl.constexpr, G: tl.constexpr, S: tl.constexpr, C: tl.constexpr,
    RESIDUAL: tl.constexpr, WRITE_Z: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_G: tl.constexpr, CHUNK_R: tl.constexpr, CHUNK_S: tl.constexpr, CHUNK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """dpre [rows, 2G], the gradient of the preactivation, from that of the skip sum and, with RESIDUAL, of x[l+1].

    The preactivation is computed again from the taps. With WRITE_Z z is written too, to z_out [rows, G].
    """
    BLOCKS: tl.constexpr = (G + BLOCK_G - 1) // BLOCK_G
    row, first, inside = _tile(steps, tl.program_id(0) // BLOCKS, BLOCK_T)
    rows = tl.arange(0, BLOCK_T)[:, None]
    columns = tl.program_id(0) % BLOCKS * BLOCK_G + tl.arange(0, BLOCK_G)
    exists = (columns < G)[None, :]
    dz = tl.zeros([BLOCK_T, BLOCK_G], tl.float32)
    for chunk in range(0, S, CHUNK_S):
        channels = chunk + tl.arange(0, CHUNK_S)
        weights = skip_weight + columns[None, :] * S + channels[:, None]
        weights = tl.load(weights, mask=(channels < S)[:, None] & exists, other=0.0)
        dz = _multiply(_load(grad, row, S, channels, S, inside, BLOCK_T), weights, dz, PRECISION)
    if RESIDUAL:
        for chunk in range(0, R, CHUNK_R):
            channels = chunk + tl.arange(0, CHUNK_R)
            weights = residual_weight + columns[None, :] * R + channels[:, None]
            weights = tl.load(weights, mask=(channels < R)[:, None] & exists, other=0.0)
            dz = _multiply(_load(upstream, row, R, channels, R, inside, BLOCK_T), weights, dz, PRECISION)
    filter_half, gate_half = _preactivation(
        layer_input, weight, bias, condition, condition_weight, row, first, inside, columns, dilation,
        TAPS, R, G, C, PRECISION, BLOCK_T, BLOCK_G, CHUNK_R, CHUNK_C,
    )  # fmt: skip
    tanh = _tanh(filter_half)
    sigmoid = tl.sigmoid(gate_half)
    mask = inside[:, None] & exists
    offsets = row * (2 * G) + (rows * (2 * G) + columns[None, :])
    _store(dpre + offsets, dz * sigmoid * (1 - tanh * tanh), mask)
    _store(dpre + offsets + G, dz * tanh * sigmoid * (1 - sigmoid), mask)
    if WRITE_Z:
        _store(z_out + row * G + (rows * G + columns[None, :]), tanh * sigmoid, mask)


@triton.jit(do_not_specialize=["steps", "dilation", "rows_class"])
def transposed_product(
    source, weight, carry, out, steps, dilation, rows_class,
    TAPS: tl.constexpr, D: tl.constexpr, N: tl.constexpr, STRIDE: tl.constexpr, CARRY: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_N: tl.constexpr, CHUNK_D: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """out[t] = carry[t] + sum_k source[t + (TAPS-1-k)*dilation] @ weight[k]^T

    source [rows, D], rows STRIDE apart; weight [TAPS, N, D]; carry and out [rows, N]; without CARRY it is not read
    """
    BLOCKS: tl.constexpr = (N + BLOCK_N - 1) // BLOCK_N
    CHUNKS: tl.constexpr = (D + CHUNK_D - 1) // CHUNK_D
    row, first, inside = _tile(steps, tl.program_id(0) // BLOCKS, BLOCK_T)
    rows = tl.arange(0, BLOCK_T)
    outputs = tl.program_id(0) % BLOCKS * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.zeros([BLOCK_T, BLOCK_N], tl.float32)
    for step in range(TAPS * CHUNKS):
        tap = step // CHUNKS
        channels = step % CHUNKS * CHUNK_D + tl.arange(0, CHUNK_D)
        shift = (TAPS - 1 - tap) * dilation.to(tl.int64)
        left = tl.maximum(tl.minimum(steps - first - shift, BLOCK_T), 0).to(tl.int32)  # rows beyond the end: zeros
        values = _load(source, row + shift, STRIDE, channels, D, rows < left, BLOCK_T)
        weights = weight + (tap * N + outputs[None, :]) * D + channels[:, None]
        weights = tl.load(weights, mask=(channels < D)[:, None] & (outputs < N)[None, :], other=0.0)
        total = _multiply(values, weights, total, PRECISION)
    if CARRY:
        total += _load(carry, row, N, outputs, N, inside, BLOCK_T).to(tl.float32)
    mask = inside[:, None] & (outputs < N)[None, :]
    _store(out + row * N + (rows[:, None] * N + outputs[None, :]), total, mask)


@triton.jit(do_not_specialize=["steps", "units", "dilation", "stride", "bias_stride"])
def weight_gradient(
    left, right, partials, bias_partials, steps, units, dilation, stride, bias_stride,
    TAPS: tl.constexpr, M: tl.constexpr, N: tl.constexpr, LEFT_STRIDE: tl.constexpr, BIAS: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """partials[p, k] = sum over t in part p of left[t - (TAPS-1-k)*dilation]^T right[t]; with BIAS, sums of right.

    left [rows, M], rows LEFT_STRIDE apart; right [rows, N]; partials [parts, TAPS, M, N], parts `stride` apart;
    bias_partials [parts, N]. A part is a fixed run of units, and a unit ROWS time steps: the order of every sum
    depends on shapes alone.
    """
    BLOCKS_N: tl.constexpr = (N + BLOCK_N - 1) // BLOCK_N
    BLOCKS_M: tl.constexpr = (M + BLOCK_M - 1) // BLOCK_M
    tile = tl.program_id(0)
    part = tl.program_id(1).to(tl.int64)
    units_a_part = tl.cdiv(units, tl.num_programs(1))
    begin = tl.program_id(1) * units_a_part
    end = tl.minimum(begin + units_a_part, units)
    n = tile % BLOCKS_N * BLOCK_N + tl.arange(0, BLOCK_N)
    if tile < TAPS * BLOCKS_M * BLOCKS_N:
        tap = tile // (BLOCKS_M * BLOCKS_N)
        m = tile // BLOCKS_N % BLOCKS_M * BLOCK_M + tl.arange(0, BLOCK_M)
        rows = tl.arange(0, ROWS)
        shift = (TAPS - 1 - tap) * dilation.to(tl.int64)
        total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        for unit in range(begin, end):
            row, first, inside = _tile(steps, unit, ROWS)
            absent = tl.minimum(shift - first, ROWS).to(tl.int32)
            offsets = rows[None, :] * LEFT_STRIDE + m[:, None]
            mask = (inside & (rows >= absent))[None, :] & (m < M)[:, None]
            taps = tl.load(left + (row - shift) * LEFT_STRIDE + offsets, mask=mask, other=0.0)
            total = _multiply(taps, _load(right, row, N, n, N, inside, ROWS), total, PRECISION)
        mask = (m < M)[:, None] & (n < N)[None, :]
        tl.store(partials + part * stride + (tap * M + m[:, None]) * N + n[None, :], total, mask=mask)
    elif BIAS:
        sums = tl.zeros([ROWS, BLOCK_N], tl.float32)
        for unit in range(begin, end):
            row, first, inside = _tile(steps, unit, ROWS)
            sums += _load(right, row, N, n, N, inside, ROWS).to(tl.float32)
        tl.store(bias_partials + part * bias_stride + n, tl.sum(sums, 0), mask=n < N)
