"""What every test gets."""

import gc

import pytest
import torch

import on_cpu
from fastwave.runtime import library


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small products gain nothing from a second thread, and on a busy machine wait for it: 96 s instead of 6."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cuda_on_cpu(tmp_path_factory):
    """A folder with a libfastwave_cuda for the CPU."""
    return on_cpu.build_library(tmp_path_factory.mktemp("library"))


@pytest.fixture
def machine(cuda_on_cpu, monkeypatch):
    """The cuda backend on the CPU, and what a test may change about its devices."""
    yield on_cpu.use(cuda_on_cpu, monkeypatch)
    gc.collect()  # engines go before their library does
    library._open.cache_clear()


@pytest.fixture
def gpu():
    """The name of the device, or a skip that says what is missing."""
    if reason := library.missing("cuda") or library.no_cuda_device():
        pytest.skip(f"no GPU: not measured ({reason})")
    if not torch.cuda.is_available():
        pytest.skip("no GPU: not measured (torch sees none)")
    return torch.cuda.get_device_name()
