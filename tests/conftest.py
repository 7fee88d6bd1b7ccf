"""What every test gets."""

import pytest
import torch

import shared_builds
from build_fixtures import compilers, cuda_on_cpu, machine  # noqa: F401
from fastwave.runtime import library


def pytest_collection_modifyitems(items):
    """Files that build or run long come first: with workers side by side, none is left alone with one at the end."""
    long_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long_files)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small products gain nothing from a second thread, and on a busy machine wait for it: 96 s instead of 6."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_the_user(tmp_path_factory):
    """Verdicts on the kernels of a GPU are neither taken from the user's cache nor left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_builds.folder_of_the_run(tmp_path_factory) / "cache"))
        yield


@pytest.fixture
def gpu():
    """The name of the device, or a skip that says what is missing."""
    if reason := library.missing("cuda") or library.no_cuda_device():
        pytest.skip(f"no GPU: not measured ({reason})")
    if not torch.cuda.is_available():
        pytest.skip("no GPU: not measured (torch sees none)")
    return torch.cuda.get_device_name()
