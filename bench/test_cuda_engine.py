"""Rows of the CUDA engine: every preset, dtype and number of streams. The most important come first."""

import pytest
import torch

from fastwave import WaveNetConfig, dilation_cycle
from fastwave.config import PRESETS
from fastwave.runtime import library
from generation import compare, proved, this_gpu
from latency import terms_of

STREAMS = (1, 8, 128, 1024, 8192)
LAYERS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20)
OTHER_PRESETS = [name for name in PRESETS if name != "ref"]

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def gpu():
    """The device with its ceilings, or a skip that says what is missing."""
    if reason := library.missing("cuda") or library.no_cuda_device():
        pytest.skip(f"no GPU: not measured ({reason})")
    if not torch.cuda.is_available():
        pytest.skip("no GPU: not measured (torch sees none)")
    return this_gpu()


@pytest.mark.parametrize("streams", STREAMS)
def test_generation_of_ref(gpu, streams, rows, in_turn):
    kernels = [("bfloat16", "auto"), ("bfloat16", "general"), ("float32", "auto")]
    if streams <= 8:
        kernels.insert(1, ("bfloat16", "cluster-unfolded"))
    config = WaveNetConfig.preset("ref")
    compare([("ref", config, *each) for each in kernels], streams, gpu, rows, in_turn)


def test_latency_of_the_cluster_kernel(gpu, rows, latency, in_turn):
    wanted = [
        (
            f"ref of {count} layers",
            WaveNetConfig.preset("ref", dilations=dilation_cycle()[:count]),
            "bfloat16",
            "cluster",
        )
        for count in LAYERS
    ]
    compare(wanted, 1, gpu, rows, in_turn, seconds=0.1)
    times = [each.microseconds for each in rows[-len(wanted) :]]
    plans = [proved(*each).engine.plan(1) for each in wanted]
    terms = terms_of(LAYERS, [plan.layer_blocks for plan in plans], times)
    latency.append(
        {
            "kernel": "cluster, ref with fewer layers, one stream",
            **{f"{name}_us": round(value, 4) for name, value in vars(terms).items()},
            "layers": " ".join(map(str, LAYERS)),
            "layer_blocks": " ".join(str(plan.layer_blocks) for plan in plans),
            "cluster_blocks": " ".join(str(plan.blocks_per_cluster) for plan in plans),
        }
    )


@pytest.mark.parametrize("preset", OTHER_PRESETS)
@pytest.mark.parametrize("streams", STREAMS)
def test_generation_of_other_presets(gpu, preset, streams, rows, in_turn):
    config = WaveNetConfig.preset(preset)
    compare([(preset, config, dtype, "auto") for dtype in ("bfloat16", "float32")], streams, gpu, rows, in_turn)
