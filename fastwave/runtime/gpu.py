"""Which GPU, driver and kernels a proof holds for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import torch

from .. import __version__
from ..files import digest_of
from . import library

_PACKAGE = Path(__file__).parents[1]
_DRIVER = Path("/sys/module/nvidia/version")


def current_device() -> int:
    """The index of the GPU that torch takes where none is named."""
    return torch.cuda.current_device() if torch.cuda.is_available() else 0


def identity(role: str, device: int) -> dict[str, str]:
    """All that a proof depends on, in words. A proof that was made with another identity says nothing here."""
    name, capability = describe(role, device)
    return {
        "role": role,
        "device": name,
        "compute capability": f"{capability[0]}.{capability[1]}",
        "driver": driver(),
        "fastwave": __version__,
        "kernels": digest_of(_kernels(role)),
        "torch": torch.__version__,
        "triton": _version("triton"),
    }


def describe(role: str, device: int) -> tuple[str, tuple[int, int]]:
    """Name and compute capability of a GPU, from whatever runs the kernels of this role."""
    if role == "generation":
        found = library.cuda_devices()[device]
        return found.name, found.compute_capability
    return torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)


def driver() -> str:
    """The version of the NVIDIA driver; where the system does not show it, that of the CUDA it supports."""
    try:
        return _DRIVER.read_text().strip()
    except (OSError, UnicodeDecodeError):
        supported = getattr(torch._C, "_cuda_getDriverVersion", None)  # of builds with CUDA
        return "unknown" if supported is None else f"CUDA {supported()}"


def _kernels(role: str) -> list[Path]:
    """The files that a proof is about, and those of the proof itself."""
    if role == "generation":
        kernels = [library.path_of("cuda")]
    else:
        kernels = sorted(path for folder in _folders("fastwave.kernels") for path in folder.glob("*.py"))
    return [*kernels, *sorted((_PACKAGE / "proof").glob("*.py"))]


def _folders(package: str) -> list[Path]:
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
