"""A verdict holds for one GPU, driver and build of the kernels: all that it depends on is in its identity."""

import pytest
import torch

from fastwave.runtime import gpu


@pytest.fixture
def device(tmp_path, monkeypatch):
    """A GPU that is described, and kernels in a folder."""
    for name in ("libfastwave_cuda.so", "gated_layer.py"):
        (tmp_path / name).write_text("kernels")
    monkeypatch.setattr(gpu, "describe", lambda role, index: ("GPU of a test", (9, 0)))
    monkeypatch.setattr(gpu.library, "path_of", lambda name: tmp_path / "libfastwave_cuda.so")
    monkeypatch.setattr(gpu, "_folders", lambda package: [tmp_path])
    monkeypatch.setattr(gpu, "_DRIVER", tmp_path / "version")
    (tmp_path / "version").write_text("550.54.15\n")
    return tmp_path


@pytest.mark.parametrize(("role", "file"), [("generation", "libfastwave_cuda.so"), ("training", "gated_layer.py")])
def test_the_identity_names_all_and_changes_with_the_kernels(device, role, file):
    identity = gpu.identity(role, 0)
    assert (identity["device"], identity["compute capability"]) == ("GPU of a test", "9.0")
    assert (identity["driver"], identity["torch"]) == ("550.54.15", torch.__version__)
    assert gpu.identity(role, 0) == identity
    (device / file).write_text("kernels, another build")
    other = gpu.identity(role, 0)
    assert {name for name in identity if identity[name] != other[name]} == {"kernels"}


def test_both_roles_have_verdicts_of_their_own(device):
    assert gpu.identity("generation", 0) != gpu.identity("training", 0)


def test_a_driver_that_the_system_does_not_show_is_known_by_its_cuda(device, monkeypatch):
    (device / "version").unlink()
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 12040, raising=False)
    assert gpu.driver() == "CUDA 12040"


def test_the_kernels_of_triton_are_found_without_importing_them():
    assert "gated_layer.py" in {path.name for path in gpu._kernels("training")}
    assert "closeness.py" in {path.name for path in gpu._kernels("training")}  # a stricter proof proves again
