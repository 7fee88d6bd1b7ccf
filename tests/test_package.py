"""What an install gives: the wheel holds what it should and nothing stale, and a refusal to build says what to do."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fastwave
from fastwave.runtime import library

ROOT = Path(__file__).resolve().parents[1]
NVCC = shutil.which("nvcc")
LEFT_BEHIND = (".git", ".venv", "build", "dist", "runs", "*.egg-info", "__pycache__", ".*_cache", "*.so", "*.dylib")


@pytest.fixture(scope="module", autouse=True)
def _every_source_is_compiled_once(compilers):
    """These wheels differ in what is packed, not in what is compiled: each object is compiled for the first one."""
    with pytest.MonkeyPatch.context() as patch:
        for name, launcher in compilers.items():
            patch.setenv(name, launcher)
        yield


@pytest.fixture(scope="module")
def checkout():
    """The root of the source tree."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("no source tree around these tests")
    return ROOT


@pytest.fixture(scope="module")
def tree(checkout, tmp_path_factory):
    """A copy of the source tree, so that building leaves no trace in it."""
    for module in ("build", "cmake", "ninja", "setuptools"):
        pytest.importorskip(module, reason=f"building here needs {module}: pip install fastwave[dev]")
    folder = tmp_path_factory.mktemp("tree") / "fastwave"
    shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    return folder


def path_without_nvcc(folder):
    """PATH where folders that hold nvcc are replaced by links to all else they hold."""
    parts = []
    for number, part in enumerate(os.environ["PATH"].split(os.pathsep)):
        if not (Path(part) / "nvcc").exists():
            parts.append(part)
            continue
        mirror = folder / f"path{number}"
        mirror.mkdir()
        for program in Path(part).iterdir():
            if not program.name.startswith("nvcc"):
                (mirror / program.name).symlink_to(program)
        parts.append(str(mirror))
    return os.pathsep.join(parts)


@pytest.fixture(scope="module")
def no_nvcc(tmp_path_factory):
    """An environment in which nvcc cannot be found."""
    environment = {k: v for k, v in os.environ.items() if k not in ("CUDACXX", "CUDA_HOME", "CUDA_PATH")}
    return {**environment, "PATH": path_without_nvcc(tmp_path_factory.mktemp("path"))}


def build(tree, kind, output, environment=None, **settings):
    clean = {k: v for k, v in (environment or os.environ).items() if not k.startswith("FASTWAVE_")}
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", output, tree]
    return subprocess.run(
        command, cwd=output, env={**clean, **settings}, capture_output=True, text=True, timeout=600, check=False
    )


def built(tree, kind, output, environment=None, **settings):
    done = build(tree, kind, output, environment, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = output.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return file


def contents(wheel):
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def libraries(wheel):
    return {Path(name).stem for name in contents(wheel) if name.endswith((".so", ".dylib"))}


@pytest.fixture(scope="module")
def first_wheel(tree, tmp_path_factory):
    """What a first install builds: with CUDA where there is nvcc."""
    return built(tree, "wheel", tmp_path_factory.mktemp("first"), FASTWAVE_CUDA="ON" if NVCC else "OFF")


@pytest.fixture(scope="module")
def wheel(tree, first_wheel, no_nvcc, tmp_path_factory):
    """A second wheel from the same tree, now without nvcc; all that a build may leave behind was left behind."""
    folders = [tree / "fastwave", *(tree / "build").glob("lib*/fastwave")]
    folders += [folder / "wheel" / "fastwave" for folder in (tree / "build").glob("bdist*")]
    assert len(folders) == 3
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "libfastwave_cuda.so").write_text("stale")
    for folder in folders[1:]:
        (folder / "deleted_since.py").write_text("stale")
    return built(tree, "wheel", tmp_path_factory.mktemp("second"), no_nvcc)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function that makes fastwave.runtime.library use the libraries of a wheel."""

    def install(wheel):
        zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
        monkeypatch.setattr(library, "FOLDER", tmp_path / "installed" / "fastwave")
        library._open.cache_clear()

    yield install
    library._open.cache_clear()


@pytest.mark.slow
def test_a_wheel_holds_every_module_and_the_cpu_library(wheel, checkout):
    modules = {f"fastwave/{p.relative_to(checkout / 'fastwave')}" for p in (checkout / "fastwave").rglob("*.py")}
    kernels = {f"fastwave/kernels/{p.name}" for p in (checkout / "kernels").glob("*.py")}

    assert modules | kernels | {"fastwave/py.typed"} <= contents(wheel)
    assert libraries(wheel) == {"libfastwave_cpu"}


@pytest.mark.slow
def test_a_wheel_holds_nothing_stale(wheel):
    assert not [name for name in contents(wheel) if "libfastwave_cuda" in name or "deleted_since" in name]


@pytest.mark.slow
@pytest.mark.skipif(not NVCC, reason="nvcc is not on PATH: no CUDA library can be built here")
def test_a_wheel_built_with_nvcc_holds_the_cuda_library(first_wheel, installed):
    assert libraries(first_wheel) == {"libfastwave_cpu", "libfastwave_cuda"}

    installed(first_wheel)

    assert library.missing("cuda") is None
    assert library.build_info("cuda")["architectures"] == ["80", "90"]


@pytest.mark.slow
def test_a_library_that_was_not_built_gives_the_true_reason(wheel, installed):
    installed(wheel)

    assert library.missing("cpu") is None
    assert "was not built (nvcc not found at install time)" in library.missing("cuda")


@pytest.mark.slow
def test_one_wheel_serves_every_python(wheel):
    assert re.fullmatch(r"fastwave-[\d.]+-py3-none-(linux|macosx|manylinux)\w+\.whl", wheel.name)


@pytest.mark.slow
def test_a_source_distribution_builds_the_same_wheel(tree, wheel, no_nvcc, tmp_path):
    archive = built(tree, "sdist", tmp_path)
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()

    for needed in ("csrc/fastwave.h", "tests/native/boundary.cpp", "constraints.txt", "LICENSE", "NOTICE", "README.md"):
        assert (unpacked / needed).exists()
    assert not list(unpacked.rglob("*.so"))

    again = built(unpacked, "wheel", tmp_path, no_nvcc)

    assert contents(again) == contents(wheel)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("readelf"), reason="needs readelf of binutils")
def test_the_libraries_need_only_the_c_library(wheel, first_wheel, tmp_path):
    for file in (wheel, first_wheel):
        zipfile.ZipFile(file).extractall(tmp_path / file.parent.name)
    libraries = list(tmp_path.rglob("*.so"))
    assert libraries
    for path in libraries:
        shown = subprocess.run(["readelf", "-dW", "--dyn-syms", path], capture_output=True, text=True, check=True)
        needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", shown.stdout))

        # libstdc++ is carried where the compiler has it as an archive; never torch, libcuda or libcudart
        assert {name.split(".so")[0] for name in needed} <= {
            *("libc", "libm", "libdl", "librt", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64"),
            *("libstdc++", "libgcc_s"),
        }
        assert not re.search(r"torch|c10|RPATH|RUNPATH", shown.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("nm"), reason="needs nm of binutils")
def test_no_code_leaks_from_one_instruction_set_to_another(wheel, tree):
    objects = list((tree / "build").rglob("kernels_*.dir/**/*.o"))
    assert objects
    for file in objects:
        rung = re.search(r"kernels_(\w+)\.dir", str(file))[1]
        symbols = subprocess.run(
            ["nm", "-C", "--defined-only", file], capture_output=True, text=True, check=True
        ).stdout
        for line in symbols.splitlines():
            _, kind, name = line.split(maxsplit=2)

            assert kind.islower() or f"fw::cpu::{rung}::" in name, f"{file}: {line}"
            assert kind not in "vwu", f"{file}: the linker would merge {name} with the other instruction sets'"


@pytest.mark.slow
def test_cuda_on_without_nvcc_is_an_error_with_a_cure(tree, no_nvcc, tmp_path):
    done = build(tree, "wheel", tmp_path, no_nvcc, FASTWAVE_CUDA="ON")

    assert done.returncode != 0
    assert "FASTWAVE_CUDA=ON, but nvcc was not found" in done.stderr
    assert "Set CUDA_HOME to a CUDA toolkit, or install with FASTWAVE_CUDA=OFF" in done.stderr
    assert not list(tmp_path.glob("*.whl"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"), [("FASTWAVE_CUDA", "yes"), ("FASTWAVE_CUDA_ARCHS", "80,90"), ("FASTWAVE_CUDA_ARCHS", "")]
)
def test_a_setting_that_means_nothing_is_an_error(tree, tmp_path, name, value):
    done = build(tree, "wheel", tmp_path, **{name: value})

    assert done.returncode != 0
    assert f"{name} is {value!r}; it must" in done.stderr


@pytest.fixture
def broken_nvcc(tmp_path):
    program = tmp_path / "broken" / "nvcc"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'unsupported host compiler' >&2\nexit 1\n")
    program.chmod(0o755)
    shutil.copy(program, program.with_name("nvidia-smi"))  # where there is no driver, AUTO does not try nvcc
    return str(program)


def with_driver(nvcc):
    """A PATH on which there is an NVIDIA driver."""
    return os.pathsep.join([str(Path(nvcc).parent), os.environ["PATH"]])


@pytest.mark.slow
def test_a_broken_nvcc_leaves_an_install_that_says_so(tree, broken_nvcc, installed, tmp_path):
    installed(built(tree, "wheel", tmp_path, CUDACXX=broken_nvcc, PATH=with_driver(broken_nvcc)))

    assert library.missing("cpu") is None
    assert "was not built (nvcc failed at install time)" in library.missing("cuda")


@pytest.mark.slow
def test_a_broken_nvcc_is_an_error_where_cuda_was_asked_for(tree, broken_nvcc, tmp_path):
    done = build(tree, "wheel", tmp_path, CUDACXX=broken_nvcc, FASTWAVE_CUDA="ON")

    assert done.returncode != 0
    assert f"the build with {broken_nvcc} failed" in done.stderr


@pytest.mark.slow
def test_the_tests_see_the_installed_package_not_the_checkout(tree, wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    shutil.copy(tree / "pyproject.toml", tmp_path)
    shutil.copytree(tree / "fastwave", tmp_path / "fastwave")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_where.py").write_text(
        "import importlib.util\n\n\ndef test_where():\n"
        "    assert '/installed/' in importlib.util.find_spec('fastwave').origin\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    program = "import sys, pytest; sys.path.pop(0); sys.exit(pytest.main())"  # what the script `pytest` does

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, check=False
    )

    assert done.returncode == 0, done.stdout.decode()


def test_the_citation_names_this_version(checkout):
    text = (checkout / "CITATION.cff").read_text()
    assert text.startswith("cff-version: 1.2.0\n") and re.findall(r"^version: (.*)$", text, re.M) == [
        fastwave.__version__
    ]
    assert re.findall(r"^license: (.*)$", text, re.M) == re.findall(
        r'^license = "(.*)"$', (checkout / "pyproject.toml").read_text(), re.M
    )


def test_there_are_three_environment_variables(checkout):
    allowed = {"FASTWAVE_BACKEND", "FASTWAVE_CUDA", "FASTWAVE_CUDA_ARCHS"}
    python = [
        checkout / "setup.py",
        *(p for folder in ("fastwave", "kernels", "bench") for p in (checkout / folder).rglob("*.py")),
    ]
    native_code = [p for p in (checkout / "csrc").rglob("*") if p.is_file()]

    named = {name for p in python for name in re.findall(r"""["'](FASTWAVE_\w+)["']""", p.read_text())}
    read = [p for p in native_code if re.search(r"getenv|ENV\{", p.read_text())]

    assert named <= allowed
    assert read == []
