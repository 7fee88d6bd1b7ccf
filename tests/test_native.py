"""The native libraries answer through fastwave.native as csrc/fastwave.h says, and refuse with a reason and a cure."""

import ctypes
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fastwave
from fastwave import native
from fastwave.errors import BackendUnavailable, InputError, NativeError

ROOT = Path(__file__).resolve().parents[1]
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
C_TYPES = {
    "void": None,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "double": ctypes.c_double,
    "char*": ctypes.c_char_p,
    "int32_t*": ctypes.POINTER(ctypes.c_int32),
    "int64_t*": ctypes.POINTER(ctypes.c_int64),
    "double*": ctypes.POINTER(ctypes.c_double),
    "fw_features_t*": ctypes.POINTER(native._Features),
    "fw_device_t*": ctypes.POINTER(native._Device),
    "uint64_t": ctypes.c_uint64,
    "float": ctypes.c_float,
    "float*": ctypes.c_void_p,
    "const float*": ctypes.c_void_p,
    "const fw_model_t*": ctypes.POINTER(native._Model),
    "fw_run_t*": ctypes.POINTER(native._Run),
    "const fw_stack_t*": ctypes.POINTER(native._Stack),
    "const fw_stack_gradients_t*": ctypes.POINTER(native._StackGradients),
    "const fw_head_t*": ctypes.POINTER(native._Head),
    "const fw_head_gradients_t*": ctypes.POINTER(native._HeadGradients),
    "fw_engine_t*": ctypes.c_void_p,
    "fw_engine_t**": ctypes.POINTER(ctypes.c_void_p),
    "void*": ctypes.c_void_p,
    "fw_plan_t*": ctypes.POINTER(native._Plan),
    "fw_cuda_engine_t*": ctypes.c_void_p,
    "const fw_cuda_engine_t*": ctypes.c_void_p,
    "fw_cuda_engine_t**": ctypes.POINTER(ctypes.c_void_p),
}
STRUCTURES = {
    "fw_features_t": native._Features,
    "fw_device_t": native._Device,
    "fw_model_t": native._Model,
    "fw_run_t": native._Run,
    "fw_stack_t": native._Stack,
    "fw_stack_gradients_t": native._StackGradients,
    "fw_head_t": native._Head,
    "fw_head_gradients_t": native._HeadGradients,
    "fw_plan_t": native._Plan,
}


@pytest.fixture(scope="module")
def header():
    """The header without its comments."""
    path = ROOT / "csrc" / "fastwave.h"
    if not path.exists():
        pytest.skip("no source tree around these tests")
    return re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder in which fastwave looks for its libraries."""
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    native._open.cache_clear()
    yield tmp_path
    native._open.cache_clear()


def library_file(folder, library="cpu"):
    return folder / f"libfastwave_{library}{'.dylib' if sys.platform == 'darwin' else '.so'}"


def compile_fake(folder, source):
    if not COMPILER:
        pytest.skip("no C compiler to build a fake library with")
    (folder / "fake.c").write_text(source)
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library_file(folder), folder / "fake.c"], check=True)


# The table in native.py is the header


def test_every_function_of_the_header_is_declared_with_its_types(header):
    functions = re.findall(r"FW_API\s+(\w+)\s+(fw_\w+)\(([^)]*)\);", header)
    assert len(functions) == header.count("FW_API") - 2  # two are the macro itself
    declared = {library: {} for library in native.SIGNATURES}
    for result, name, arguments in functions:
        assert result == "int32_t", f"{name} returns no status"
        types = [re.sub(r"\s+\w+$", "", argument.strip()) for argument in arguments.split(",")]
        suffix = name.rsplit("_", 1)[1]
        for library in [suffix] if suffix in declared else list(declared):
            declared[library][name] = tuple(C_TYPES[kind] for kind in types if kind != "void")

    assert declared == native.SIGNATURES


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_struct_has_the_fields_of_the_header(header, name):
    body = re.search(r"typedef struct \{([^}]*)\} " + name, header)[1]
    fields = []
    for kind, pointer, names in re.findall(r"(?:const )?(\w+)(\*?)\s+([^;]+);", body):
        for field, count in re.findall(r"(\w+)(?:\[(\d+)\])?", names):
            plain = ctypes.c_char * int(count) if count else C_TYPES[kind]
            fields.append((field, ctypes.c_void_p if pointer else plain))

    assert fields == list(STRUCTURES[name]._fields_)


def test_every_constant_has_the_value_of_the_header(header):
    names = {f"FW_{status.name}": status.value for status in native.Status}
    names |= {f"FW_ISA_{name.upper()}": value for value, name in enumerate(native.INSTRUCTION_SETS)}
    names |= {f"FW_{name.upper()}": value for value, name in enumerate(native.TYPES)}
    names |= {f"FW_{name.split('-')[0].upper()}": value for value, name in enumerate(native.OUTPUTS)}
    names |= {f"FW_KERNEL_{name.upper().replace('-', '_')}": value for value, name in enumerate(native.KERNELS)}

    assert {name: int(value) for name, value in re.findall(r"(FW_\w+) = (\d+)", header)} == names
    assert int(re.search(r"#define FW_ABI_VERSION (\d+)", header)[1]) == native.ABI_VERSION


@pytest.mark.parametrize("library", native.SIGNATURES)
def test_a_library_exports_its_functions_and_nothing_else(library):
    path = library_file(native.FOLDER, library)
    if not path.exists() and library != "cpu":
        pytest.skip(native.missing(library))
    if not shutil.which("nm") or sys.platform == "darwin":
        pytest.skip("needs nm of binutils")

    lines = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout

    assert {line.split()[-1] for line in lines.splitlines()} == set(native.SIGNATURES[library])


# Loading


def test_importing_fastwave_loads_no_native_library():
    program = "import fastwave, fastwave.native; assert fastwave.native._open.cache_info().currsize == 0"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_build_describes_itself():
    info = native.build_info("cpu")

    assert info["version"] == fastwave.__version__
    assert "portable" in info["instruction_sets"]
    assert info["compiler"]
    assert bool(info["cuda_absent"]) == (native.missing("cuda") is not None)


def test_a_missing_library_is_named_with_the_cure(elsewhere):
    assert native.missing("cpu") == (
        f"libfastwave_cpu is not in {elsewhere}. "
        'Install fastwave (in a checkout: pip install -e .), or use backend="reference".'
    )
    with pytest.raises(BackendUnavailable, match="libfastwave_cpu is not in"):
        native.cpu_features()


def test_a_cuda_library_that_was_not_built_says_why(elsewhere, monkeypatch):
    monkeypatch.setattr(native, "build_info", lambda library: {"cuda_absent": "nvcc not found at install time"})

    assert native.missing("cuda") == (
        "libfastwave_cuda was not built (nvcc not found at install time). "
        'Reinstall with FASTWAVE_CUDA=ON, or use backend="cpu".'
    )


def test_a_cuda_library_that_was_lost_says_so(elsewhere, monkeypatch):
    monkeypatch.setattr(native, "build_info", lambda library: {"cuda_absent": ""})

    assert "was built but is not in" in native.missing("cuda")


def test_a_library_of_another_abi_is_refused(elsewhere):
    compile_fake(elsewhere, f"int fw_abi_version(void) {{ return {native.ABI_VERSION + 1}; }}")

    with pytest.raises(NativeError, match=rf"has ABI {native.ABI_VERSION + 1}, this fastwave needs .*Reinstall"):
        native.cpu_features()


def test_a_library_that_lacks_a_function_is_refused(elsewhere):
    compile_fake(elsewhere, f"int fw_abi_version(void) {{ return {native.ABI_VERSION}; }}")

    with pytest.raises(NativeError, match=r"fw_last_error.*Reinstall"):
        native.cpu_features()


def test_a_file_that_is_no_library_is_refused(elsewhere):
    library_file(elsewhere).write_bytes(b"not a library")

    with pytest.raises(NativeError, match=r"cannot be used.*Reinstall"):
        native.cpu_features()


def test_many_threads_may_be_the_first_to_use_a_library():
    native._open.cache_clear()

    with ThreadPoolExecutor(16) as pool:
        answers = set(pool.map(lambda _: native.cpu_features(), range(64)))

    assert len(answers) == 1


# Texts


def test_a_short_buffer_gets_the_beginning_and_the_whole_length():
    function = native._open("cpu").fw_build_info_cpu
    whole = native._text(function)
    buffer, length = ctypes.create_string_buffer(b"x" * 15), ctypes.c_int64()

    status = function(buffer, 10, ctypes.byref(length))

    assert status == native.Status.BUFFER_TOO_SMALL
    assert length.value == len(whole)
    assert buffer.raw == whole[:9].encode() + b"\0" + b"x" * 5 + b"\0"


def test_every_thread_has_its_own_message():
    def refused(size):
        with pytest.raises(InputError) as caught:
            native.read_bandwidth(size)
        return f"bytes is {size}," in str(caught.value)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(refused, range(1000)))


# Ceilings


@pytest.mark.parametrize("instruction_set", native.INSTRUCTION_SETS)
def test_every_instruction_set_can_be_forced_or_is_refused(instruction_set):
    forced = {"instruction_set": instruction_set, "seconds": 0.01}
    if instruction_set in native.cpu_features().instruction_sets:
        assert native.read_bandwidth(65536, **forced) > 0
        assert native.multiply_add_peak(**forced) > 0
        return
    with pytest.raises(BackendUnavailable, match=instruction_set):
        native.read_bandwidth(65536, **forced)
    with pytest.raises(BackendUnavailable, match=instruction_set):
        native.multiply_add_peak(**forced)


def test_an_instruction_set_without_the_dot_product_is_refused():
    with pytest.raises(BackendUnavailable, match="portable"):
        native.multiply_add_peak("bfloat16", instruction_set="portable", seconds=0.01)


def test_the_best_instruction_set_is_the_last_that_runs():
    features = native.cpu_features()

    assert features.best == features.instruction_sets[-1]
    assert features.instruction_sets[0] == "portable"
    if "avx512" in features.instruction_sets:
        assert {"avx2", "fma", "avx512f", "avx512bw", "avx512vl"} <= features.flags


def test_the_matrix_unit_is_the_top_of_the_ladder_and_listed_only_where_usable():
    features = native.cpu_features()

    assert native.INSTRUCTION_SETS[-1] == "amx"
    compiled = "amx" in native.build_info("cpu")["instruction_sets"]
    has = {"amx_tile", "amx_bf16", "avx512_bf16", "avx512_vnni", "avx512bw", "avx512dq", "avx512vl"} <= features.flags
    assert ("amx" in features.instruction_sets) == (compiled and has)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="no /proc/cpuinfo to compare with")
def test_the_features_are_those_the_kernel_reports():
    text = Path("/proc/cpuinfo").read_text()
    if "flags\t" not in text:
        pytest.skip("this kernel names the features of another architecture")
    flags = set(re.search(r"^flags\s*:(.*)$", text, flags=re.MULTILINE)[1].split())

    assert native.cpu_features().flags == flags & set(native._FLAGS)


def test_the_peak_does_all_the_work_it_counts():
    # A compiler that merges the independent sums reported 651 GFLOP/s here where 217 were possible.
    lanes = {"portable": 4, "avx2": 8}
    for instruction_set in native.cpu_features().instruction_sets:
        units = 4 if "neon" in native.cpu_features().flags else 2
        limit = 2 * lanes.get(instruction_set, 16) * units * 6e9  # no processor of 2026 holds 6 GHz

        assert native.multiply_add_peak(seconds=0.02, instruction_set=instruction_set) < limit


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: native.read_bandwidth(4095), "bytes is 4095, it must be 4096 to"),
        (lambda: native.read_bandwidth(2**32 + 1), "bytes is 4294967297"),
        (lambda: native.read_bandwidth(-1), "bytes is -1"),
        (lambda: native.read_bandwidth(4096, seconds=0), "seconds is 0"),
        (lambda: native.multiply_add_peak(seconds=float("nan")), "seconds is nan"),
        (lambda: native.multiply_add_peak(seconds=1e9), "seconds is 1e\\+09"),
        (lambda: native.multiply_add_peak("float16"), "'float16' is not known; choose one of float32"),
        (lambda: native.multiply_add_peak(instruction_set="avx1024"), "'avx1024' is not known; choose one of portable"),
    ],
)
def test_a_request_out_of_range_says_what_was_asked_and_what_may_be(call, message):
    with pytest.raises(InputError, match=message):
        call()


# CUDA


def test_a_cuda_library_without_a_gpu_says_why():
    if reason := native.missing("cuda"):
        pytest.skip(reason)
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is an NVIDIA driver here")

    with pytest.raises(BackendUnavailable, match="no NVIDIA driver on this machine"):
        native.cuda_devices()


@pytest.mark.gpu
def test_the_properties_of_a_gpu_are_plausible():
    if reason := native.missing("cuda"):
        pytest.skip(reason)
    try:
        devices = native.cuda_devices()
    except BackendUnavailable as error:
        pytest.skip(f"no GPU: not measured ({error})")

    for device in devices:
        assert device.name
        assert device.compute_capability >= (5, 0)
        assert device.multiprocessors > 0
        assert 48 << 10 <= device.shared_per_block <= 1 << 20
        assert device.memory > device.l2 > 0
