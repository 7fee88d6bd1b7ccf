"""The Triton kernels on a GPU: what the interpreter cannot show. Real presets, tuned tiles, CUDA streams, devices."""

import dataclasses
import importlib.util
import os

import pytest
import torch

from fastwave.config import PRESETS, WaveNetConfig
from stack_checks import CASES, MODES, by_kernels, fill_with_nan, inputs, judge, preset_case, split

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)
if os.environ.get("TRITON_INTERPRET"):
    pytest.skip("TRITON_INTERPRET is set: test_triton.py", allow_module_level=True)
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: not measured"),
]
BOTH = [mode for mode in MODES if mode != "autocast"]


@pytest.fixture(scope="module")
def kernels():
    from fastwave.kernels import gated_layer, residual_stack

    assert not gated_layer.INTERPRETED
    return residual_stack


@pytest.fixture(autouse=True)
def _plain_float32():
    """Eager PyTorch is judged by its own float32, not by TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def real_case(name, batch=2, steps=3000):
    config = WaveNetConfig.preset(name)
    return dataclasses.replace(
        preset_case(config, steps), B=batch, R=config.residual_channels, G=config.gate_channels,
        S=config.skip_channels, C=config.condition_channels,
    )  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_odd_sizes_are_as_close_as_eager(kernels, case, mode, monkeypatch):
    fill_with_nan(monkeypatch)
    judge(kernels, case, mode, device="cuda")


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_as_close_as_eager(kernels, name, mode, recompute, monkeypatch):
    fill_with_nan(monkeypatch)
    judge(kernels, real_case(name), mode, recompute, device="cuda")


@pytest.mark.parametrize("mode", BOTH)
def test_every_tile_gives_the_same_bits(kernels, mode, monkeypatch):
    """The choice that tuning makes, perhaps another one in another process, changes nothing."""
    dtype, products = MODES[mode]
    case = real_case("ref")
    tensors, grad = inputs(case, dtype, "cuda")
    tuned = by_kernels(kernels, tensors, grad, case.dilations, products)
    precision = kernels.PRECISIONS[products]
    for tile in kernels.TILES[precision]:
        monkeypatch.setitem(kernels.TILES, precision, (tile,))
        skip_sum, gradients = by_kernels(kernels, tensors, grad, case.dilations, products)
        assert torch.equal(skip_sum, tuned[0]), tile
        assert all(torch.equal(a, b) for a, b in zip(gradients, tuned[1], strict=True)), tile


@pytest.mark.parametrize("mode", BOTH)
def test_the_tuning_run_and_ten_runs_after_it_agree_bit_for_bit(kernels, mode):
    dtype, products = MODES[mode]
    case = real_case("ref", batch=3, steps=2999)
    tensors, grad = inputs(case, dtype, "cuda")
    kernels._tuned.cache_clear()
    first = by_kernels(kernels, tensors, grad, case.dilations, products)
    for _ in range(10):
        again = by_kernels(kernels, tensors, grad, case.dilations, products)
        assert torch.equal(first[0], again[0])
        assert all(torch.equal(a, b) for a, b in zip(first[1], again[1], strict=True))


def test_the_kernels_run_on_the_current_cuda_stream(kernels):
    """The inputs are written late, on another CUDA stream: kernels on the default one would read them too early."""
    case = real_case("ref")
    tensors, grad = inputs(case, torch.float32, "cuda")
    expected = by_kernels(kernels, tensors, grad, case.dilations, "float32")
    torch.cuda.synchronize()
    cuda_stream = torch.cuda.Stream()
    with torch.cuda.stream(cuda_stream):
        torch.cuda._sleep(200_000_000)  # 0.1 s
        late = [None if each is None else each.clone() for each in tensors]
        late_results = by_kernels(kernels, late, grad.clone(), case.dilations, "float32")
    cuda_stream.synchronize()
    assert torch.equal(late_results[0], expected[0])
    assert all(torch.equal(a, b) for a, b in zip(late_results[1], expected[1], strict=True))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU or none")
def test_a_second_device_is_used_where_the_tensors_lie(kernels):
    case = real_case("ref")
    judge(kernels, case, "float32", device="cuda:1")
    assert torch.cuda.current_device() == 0


def test_rows_times_channels_may_pass_2_to_the_31(kernels):
    """z [B, T, L*G] of 2.2e9 elements: an int32 row offset would wrap."""
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("needs 40 GiB of free GPU memory")
    case = dataclasses.replace(real_case("ref"), B=1, T=1_700_000)
    tensors, _ = inputs(dataclasses.replace(case, T=4096), torch.bfloat16, "cuda")
    long = [tensors[0].repeat(1, case.T // 4096 + 1, 1)[:, : case.T], *tensors[1:]]
    skip_sum, _, _ = kernels.forward(*split(long), case.dilations, "bfloat16", False)
    tail = [long[0][:, -4096:], *tensors[1:]]
    expected, _, _ = kernels.forward(*split(tail), case.dilations, "bfloat16", False)
    warm = 2047  # the receptive field: from here on both have seen the same past
    assert torch.equal(skip_sum[:, -4096 + warm :], expected[:, warm:])
