"""Registers and shared memory of every Triton kernel of a training step, compiled without a GPU."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

# In a process of its own: under TRITON_INTERPRET the kernels of this one cannot be compiled.
CODE = """
import json, sys
from fastwave.config import WaveNetConfig
from fastwave.kernels import ahead_of_time
preset, architecture, products = sys.argv[1:]
config = WaveNetConfig.preset(preset)
print(json.dumps(ahead_of_time.compile_ahead(int(architecture), config, products, thorough=False)))
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize("products", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize("preset", ["ref"])
def test_registers_and_shared_memory(preset, architecture, products, compiled_kernels):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", CODE, preset, str(architecture), products]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert run.returncode == 0, run.stderr[-2000:]
    records = json.loads(run.stdout)
    assert records
    for record in records:
        assert record["spill_bytes"] == 0, record
        sizes = (f"{name} {value}" for name, value in record["constants"].items() if not isinstance(value, bool))
        compiled_kernels.append(
            {
                "kernel": record["name"],
                "preset": preset,
                "target": f"sm_{architecture}",
                "products": products,
                **{name: record[name] for name in ("registers", "spill_bytes", "shared_bytes", "warps", "stages")},
                "constants": ", ".join(sizes),
            }
        )
