"""Fixtures of native builds, for the conftest.py of tests/ and of bench/: each is made once in a run."""

import gc

import pytest

import compile_once
import on_cpu
import shared_builds
from fastwave.runtime import library


@pytest.fixture(scope="session")
def compilers(tmp_path_factory):
    """Variables under which all CMake builds of this run, and of the CI around it, compile each source once."""
    return compile_once.environment(shared_builds.folder_of_the_run(tmp_path_factory) / "objects")


@pytest.fixture(scope="session")
def cuda_on_cpu(tmp_path_factory):
    """A folder with a libfastwave_cuda for the CPU."""
    return shared_builds.build_once(tmp_path_factory, "library", on_cpu.build_library)


@pytest.fixture
def machine(cuda_on_cpu, monkeypatch):
    """The cuda backend on the CPU, and what a test may change about its devices."""
    yield on_cpu.use(cuda_on_cpu, monkeypatch)
    gc.collect()  # engines go before their library does
    library._open.cache_clear()
