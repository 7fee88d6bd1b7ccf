"""Every Triton kernel compiled for sm_80 and sm_90, without a GPU: no spills, and shared memory that is there."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from fastwave.config import PRESETS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]

SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024}  # a program's most, by NVIDIA's tables
KERNELS = {"layer_forward", "gate_backward", "transposed_product", "weight_gradient"}

# In a process of its own, because another test module has the kernels for the interpreter.
CODE = """
import json, sys
from fastwave.config import WaveNetConfig
from fastwave.kernels import ahead_of_time
architecture, products, *presets = sys.argv[1:]
for name in presets:
    config = WaveNetConfig.preset(name)
    print(json.dumps(ahead_of_time.compile_ahead(int(architecture), config, products, thorough=False)))
"""


@pytest.mark.parametrize("products", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", SHARED_BYTES)
def test_kernels_compile_without_spills(architecture, products, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path / "cache")
    command = [sys.executable, "-c", CODE, str(architecture), products, *PRESETS]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=900)
    assert run.returncode == 0, run.stderr[-2000:]
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    for preset, records in zip(PRESETS, lines, strict=True):
        assert {record["name"] for record in records} == KERNELS, preset
        for record in records:
            assert record["spill_bytes"] == 0, (preset, record)
            assert record["shared_bytes"] <= SHARED_BYTES[architecture], (preset, record)
            assert 0 < record["registers"] <= 255, (preset, record)
