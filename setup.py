"""Builds the native libraries with CMake and Ninja. Imports neither torch nor fastwave.

FASTWAVE_CUDA=AUTO builds libfastwave_cuda where there are an NVIDIA driver and an nvcc that works, ON insists, OFF
leaves it out. Without a C++ compiler the package is installed all the same, with its reference alone.
FASTWAVE_CUDA_ARCHS lists the compute capabilities it is built for, "80;90" by default.
"""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext


def find_nvcc():
    """CUDACXX, then CUDA_HOME, CUDA_PATH and PATH; a toolkit that nobody pointed at is not used."""
    homes = [os.path.join(os.environ[name], "bin") for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    path = os.pathsep.join([*homes, os.environ.get("PATH", "")])
    return shutil.which(os.environ.get("CUDACXX") or "nvcc", path=path)


def find_compiler():
    """CXX, then the names that CMake tries. On Windows there is none: csrc/ is not written for it."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++", "icpx"]
    return None if os.name == "nt" else next(filter(None, map(shutil.which, names)), None)


def has_nvidia_driver():
    return os.path.exists("/dev/nvidia0") or shutil.which("nvidia-smi") is not None


class BuildNative(build_ext):
    """Puts libfastwave_cpu, and libfastwave_cuda where it can be built, into the package folder."""

    def run(self):
        mode = os.environ.get("FASTWAVE_CUDA", "AUTO")
        architectures = os.environ.get("FASTWAVE_CUDA_ARCHS", "80;90")
        if mode not in ("AUTO", "ON", "OFF"):
            raise SystemExit(f"FASTWAVE_CUDA is {mode!r}; it must be AUTO, ON or OFF.")
        if not re.fullmatch(r"\d+[af]?(-real|-virtual)?(;\d+[af]?(-real|-virtual)?)*", architectures):
            raise SystemExit(f"FASTWAVE_CUDA_ARCHS is {architectures!r}; it must look like '80;90' or '90a-real'.")
        if not find_compiler():
            return self.without_compiler(mode)
        nvcc = find_nvcc()
        if mode == "ON" and not nvcc:
            raise SystemExit(
                "FASTWAVE_CUDA=ON, but nvcc was not found in CUDACXX, CUDA_HOME/bin, CUDA_PATH/bin or PATH. "
                "Set CUDA_HOME to a CUDA toolkit, or install with FASTWAVE_CUDA=OFF."
            )
        absent = "nvcc not found at install time"
        if mode == "OFF":
            absent = "FASTWAVE_CUDA=OFF at install time"
        elif nvcc and mode == "AUTO" and not has_nvidia_driver():  # on 2 cores it takes 77 s of 123
            absent = "no NVIDIA driver at install time"
        elif nvcc:
            try:
                return self.cmake("ON", f"-DCMAKE_CUDA_COMPILER={nvcc}", f"-DCMAKE_CUDA_ARCHITECTURES={architectures}")
            except subprocess.CalledProcessError:
                if mode == "ON":
                    raise SystemExit(
                        f"FASTWAVE_CUDA=ON, but the build with {nvcc} failed; its errors stand above."
                    ) from None
                self.warn(
                    f"{nvcc} cannot build libfastwave_cuda: going on without it. FASTWAVE_CUDA=ON makes this an error."
                )
                absent = "nvcc failed at install time"
        self.cmake("OFF", f"-DFASTWAVE_CUDA_ABSENT={absent}")

    def without_compiler(self, mode):
        if mode == "ON":
            raise SystemExit(
                "FASTWAVE_CUDA=ON, but no C++ compiler was found. Install one, or leave FASTWAVE_CUDA out."
            )
        self.remove_libraries()
        self.warn(
            "NO C++ COMPILER was found (CXX, c++, g++, clang++): fastwave is installed with its reference alone, which "
            "is 10 to 100 times slower. Install one (Debian: apt install g++; macOS: xcode-select --install), then "
            "reinstall fastwave."
        )

    def remove_libraries(self):
        package = Path("fastwave") if self.inplace or self.editable_mode else Path(self.build_lib, "fastwave")
        for old in package.glob("libfastwave_*"):
            old.unlink()
        return package

    def cmake(self, cuda, *options):
        package = self.remove_libraries()
        folder = Path(self.build_temp, "cmake")
        shutil.rmtree(folder, ignore_errors=True)  # its cache remembers compilers that may be gone
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")])  # unactivated venv
        version = f"-DFASTWAVE_VERSION={self.distribution.get_version()}"
        for command in (
            ["-S", "csrc", "-B", folder, "-G", "Ninja", f"-DFASTWAVE_CUDA={cuda}", version, *options],
            ["--build", folder],
            ["--install", folder, "--prefix", package],
        ):
            subprocess.run(["cmake", *command], check=True, env={**os.environ, "PATH": path})

    def get_outputs(self):
        return [str(library) for library in Path(self.build_lib, "fastwave").glob("libfastwave_*")]

    def get_output_mapping(self):
        return {}

    def get_source_files(self):
        return []  # MANIFEST.in lists them


class CleanBuild(build):
    def run(self):
        shutil.rmtree(Path(self.build_lib, "fastwave"), ignore_errors=True)  # or modules deleted since would ride along
        super().run()


class PlatformWheel(bdist_wheel):
    def run(self):
        shutil.rmtree(self.bdist_dir, ignore_errors=True)  # an interrupted build leaves its libraries here
        super().run()

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]  # ctypes libraries fit every Python of a platform


setup(
    packages=[*find_packages(include=["fastwave", "fastwave.*"]), "fastwave.kernels"],
    ext_modules=[Extension("fastwave.libraries", sources=[])],  # says "not pure Python"; BuildNative does the work
    cmdclass={"build": CleanBuild, "build_ext": BuildNative, "bdist_wheel": PlatformWheel},
)
