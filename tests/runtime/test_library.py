"""The native libraries answer through runtime.library as csrc/fastwave.h says, and refuse with a reason and a cure."""

import ctypes
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fastwave
from fastwave.errors import BackendUnavailable, InputError, NativeError
from fastwave.runtime import abi, library

ROOT = Path(__file__).resolve().parents[2]
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
# A type of the header by the word that stands for it in abi.py
WORDS = {
    "int32_t": "int32",
    "int64_t": "int64",
    "uint64_t": "uint64",
    "float": "float",
    "double": "double",
    "char*": "text",
    "int32_t*": "int32*",
    "int64_t*": "int64*",
    "double*": "double*",
    "float*": "pointer",
    "const float*": "pointer",
    "void*": "pointer",
    "fw_engine_t*": "pointer",
    "fw_engine_t**": "pointer*",
    "const fw_engine_t*": "pointer",
    "fw_cuda_engine_t*": "pointer",
    "const fw_cuda_engine_t*": "pointer",
    "fw_cuda_engine_t**": "pointer*",
    "fw_features_t*": "Features",
    "fw_device_t*": "Device",
    "const fw_model_t*": "Model",
    "fw_run_t*": "Run",
    "const fw_stack_t*": "Stack",
    "const fw_stack_gradients_t*": "StackGradients",
    "const fw_head_t*": "Head",
    "const fw_head_gradients_t*": "HeadGradients",
    "fw_plan_t*": "Plan",
}
C_TYPES = {
    "int32": ctypes.c_int32,
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "text": ctypes.c_char_p,
    "pointer": ctypes.c_void_p,
    "int32*": ctypes.POINTER(ctypes.c_int32),
    "int64*": ctypes.POINTER(ctypes.c_int64),
    "double*": ctypes.POINTER(ctypes.c_double),
    "pointer*": ctypes.POINTER(ctypes.c_void_p),
    **{name: ctypes.POINTER(structure) for name, structure in library._STRUCTURES.items()},
}


def header_name(structure):
    """StackGradients -> fw_stack_gradients_t"""
    return "fw" + re.sub("([A-Z])", r"_\1", structure).lower() + "_t"


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
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    library._open.cache_clear()
    yield tmp_path
    library._open.cache_clear()


def library_file(folder, library="cpu"):
    return folder / f"libfastwave_{library}{'.dylib' if sys.platform == 'darwin' else '.so'}"


def compile_fake(folder, source):
    if not COMPILER:
        pytest.skip("no C compiler to build a fake library with")
    (folder / "fake.c").write_text(source)
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library_file(folder), folder / "fake.c"], check=True)


# The tables in abi.py are the header, and ctypes gets what they say


def test_every_function_of_the_header_is_declared_with_its_types(header):
    functions = re.findall(r"FW_API\s+(\w+)\s+(fw_\w+)\(([^)]*)\);", header)
    assert len(functions) == header.count("FW_API") - 2  # two are the macro itself
    declared = {name: {} for name in abi.SIGNATURES}
    for result, name, arguments in functions:
        assert result == "int32_t", f"{name} returns no status"
        types = [re.sub(r"\s+\w+$", "", argument.strip()) for argument in arguments.split(",")]
        suffix = name.rsplit("_", 1)[1]
        for owner in [suffix] if suffix in declared else list(declared):
            declared[owner][name] = tuple(WORDS[kind] for kind in types if kind != "void")

    assert declared == abi.SIGNATURES


@pytest.mark.parametrize("name", abi.STRUCTURES)
def test_every_struct_has_the_fields_of_the_header(header, name):
    body = re.search(r"typedef struct \{([^}]*)\} " + header_name(name) + ";", header)[1]
    fields = []
    for kind, pointer, names in re.findall(r"(?:const )?(\w+)(\*?)\s+([^;]+);", body):
        for field, count in re.findall(r"(\w+)(?:\[(\d+)\])?", names):
            plain = f"char[{count}]" if count else WORDS.get(kind)
            fields.append((field, "pointer" if pointer else plain))

    assert tuple(fields) == abi.STRUCTURES[name]


def test_every_struct_of_the_header_is_declared(header):
    assert set(re.findall(r"typedef struct \{[^}]*\} (\w+);", header)) == {header_name(name) for name in abi.STRUCTURES}


@pytest.mark.parametrize("name", abi.STRUCTURES)
def test_a_structure_of_ctypes_has_the_declared_fields_and_types(name):
    fields = [
        (field, ctypes.c_char * 256 if kind == "char[256]" else C_TYPES[kind]) for field, kind in abi.STRUCTURES[name]
    ]

    assert library._STRUCTURES[name]._fields_ == fields


def test_the_functions_of_a_loaded_library_have_the_declared_types():
    for name, kinds in abi.SIGNATURES["cpu"].items():
        function = getattr(library._open("cpu"), name)
        assert list(function.argtypes) == [C_TYPES[kind] for kind in kinds]
        assert function.restype == ctypes.c_int32


def test_every_constant_has_the_value_of_the_header(header):
    names = {f"FW_{status.name}": status.value for status in abi.Status}
    names |= {f"FW_ISA_{name.upper()}": value for value, name in enumerate(library.INSTRUCTION_SETS)}
    names |= {f"FW_{name.upper()}": value for value, name in enumerate(library.TYPES)}
    names |= {f"FW_{name.split('-')[0].upper()}": value for value, name in enumerate(library.OUTPUTS)}
    names |= {f"FW_{name.upper()}": value for value, name in enumerate(library.FRONT_ACTIVATIONS)}
    names |= {f"FW_KERNEL_{name.upper().replace('-', '_')}": value for value, name in enumerate(library.KERNELS)}

    assert {name: int(value) for name, value in re.findall(r"(FW_\w+) = (\d+)", header)} == names
    assert int(re.search(r"#define FW_ABI_VERSION (\d+)", header)[1]) == abi.ABI_VERSION


@pytest.mark.parametrize("name", abi.SIGNATURES)
def test_a_library_exports_its_functions_and_nothing_else(name):
    path = library_file(library.FOLDER, name)
    if not path.exists() and name != "cpu":
        pytest.skip(library.missing(name))
    if not shutil.which("nm") or sys.platform == "darwin":
        pytest.skip("needs nm of binutils")

    lines = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout

    assert {line.split()[-1] for line in lines.splitlines()} == set(abi.SIGNATURES[name])


# Loading


def test_importing_fastwave_loads_no_native_library():
    program = (
        "import fastwave; from fastwave.runtime import abi, library; assert not library._open.cache_info().currsize"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_build_describes_itself():
    info = library.build_info("cpu")

    assert info["version"] == fastwave.__version__
    assert "portable" in info["instruction_sets"]
    assert info["compiler"]
    assert bool(info["cuda_absent"]) == (library.missing("cuda") is not None)


def test_a_missing_library_is_named_with_the_cure(elsewhere):
    assert library.missing("cpu") == (
        f"libfastwave_cpu is not in {elsewhere}. "
        'Install fastwave (in a checkout: pip install -e .), or use backend="reference".'
    )
    with pytest.raises(BackendUnavailable, match="libfastwave_cpu is not in"):
        library.cpu_features()


def test_a_cuda_library_that_was_not_built_says_why(elsewhere, monkeypatch):
    monkeypatch.setattr(library, "build_info", lambda library: {"cuda_absent": "nvcc not found at install time"})

    assert library.missing("cuda") == (
        "libfastwave_cuda was not built (nvcc not found at install time). "
        'Reinstall with FASTWAVE_CUDA=ON, or use backend="cpu".'
    )


def test_a_cuda_library_that_was_lost_says_so(elsewhere, monkeypatch):
    monkeypatch.setattr(library, "build_info", lambda library: {"cuda_absent": ""})

    assert "was built but is not in" in library.missing("cuda")


def test_a_library_of_another_abi_is_refused(elsewhere):
    compile_fake(elsewhere, f"int fw_abi_version(void) {{ return {abi.ABI_VERSION + 1}; }}")

    with pytest.raises(NativeError, match=rf"has ABI {abi.ABI_VERSION + 1}, this fastwave needs .*Reinstall"):
        library.cpu_features()


def test_a_library_that_lacks_a_function_is_refused(elsewhere):
    compile_fake(elsewhere, f"int fw_abi_version(void) {{ return {abi.ABI_VERSION}; }}")

    with pytest.raises(NativeError, match=r"fw_last_error.*Reinstall"):
        library.cpu_features()


def test_a_file_that_is_no_library_is_refused(elsewhere):
    library_file(elsewhere).write_bytes(b"not a library")

    with pytest.raises(NativeError, match=r"cannot be used.*Reinstall"):
        library.cpu_features()


def test_many_threads_may_be_the_first_to_use_a_library():
    library._open.cache_clear()

    with ThreadPoolExecutor(16) as pool:
        answers = set(pool.map(lambda _: library.cpu_features(), range(64)))

    assert len(answers) == 1


# Texts


def test_a_short_buffer_gets_the_beginning_and_the_whole_length():
    function = library._open("cpu").fw_build_info_cpu
    whole = library._text(function)
    buffer, length = ctypes.create_string_buffer(b"x" * 15), ctypes.c_int64()

    status = function(buffer, 10, ctypes.byref(length))

    assert status == abi.Status.BUFFER_TOO_SMALL
    assert length.value == len(whole)
    assert buffer.raw == whole[:9].encode() + b"\0" + b"x" * 5 + b"\0"


def test_every_thread_has_its_own_message():
    def refused(size):
        with pytest.raises(InputError) as caught:
            library.read_bandwidth(size)
        return f"bytes is {size}," in str(caught.value)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(refused, range(1000)))


def test_errors_name_the_operation_in_words_and_no_c_function():
    sizes = {"batch": 1, "time": 1, "residual": 1, "gate": 1, "skip": 1, "condition": 0, "taps": 2, "layers": 1}
    dims = {"rows": 0, "skip": 1, "head": 1, "outputs": 1}
    stack = library.ResidualStack(sizes, [1], "float32", 1, None)
    messages = {
        "read bandwidth: ": lambda: library.read_bandwidth(1),
        "multiply-add peak: ": lambda: library.multiply_add_peak(seconds=0),
        "noise: ": lambda: library.noise(0, -1, 0, 1, 1, 8),
        "residual stack, forward pass: dilated is null": lambda: stack.forward(8),
        "residual stack, backward pass: dilated is null": lambda: stack.backward(8, {}),
        "head and loss: rows is 0": lambda: library.head_loss("gaussian", dims, {}, "float32", 1),
        "making a CPU engine: ": lambda: library.CpuEngine(
            {"taps": 0}, [1], dict.fromkeys(library.WEIGHTS.values(), 8), "float32", 1
        ),
    }
    for beginning, call in messages.items():
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value).startswith(beginning)
        assert "fw_" not in str(caught.value)


# Ceilings


@pytest.mark.parametrize("instruction_set", library.INSTRUCTION_SETS)
def test_every_instruction_set_can_be_forced_or_is_refused(instruction_set):
    forced = {"instruction_set": instruction_set, "seconds": 0.01}
    if instruction_set in library.cpu_features().instruction_sets:
        assert library.read_bandwidth(65536, **forced) > 0
        assert library.multiply_add_peak(**forced) > 0
        return
    with pytest.raises(BackendUnavailable, match=instruction_set):
        library.read_bandwidth(65536, **forced)
    with pytest.raises(BackendUnavailable, match=instruction_set):
        library.multiply_add_peak(**forced)


def test_an_instruction_set_without_the_dot_product_is_refused():
    with pytest.raises(BackendUnavailable, match="portable"):
        library.multiply_add_peak("bfloat16", instruction_set="portable", seconds=0.01)


def test_the_best_instruction_set_is_the_last_that_runs():
    features = library.cpu_features()

    assert features.best == features.instruction_sets[-1]
    assert features.instruction_sets[0] == "portable"
    if "avx512" in features.instruction_sets:
        assert {"avx2", "fma", "avx512f", "avx512bw", "avx512vl"} <= features.flags


def test_the_matrix_unit_is_the_top_of_the_ladder_and_listed_only_where_usable():
    features = library.cpu_features()

    assert [name for name in library.INSTRUCTION_SETS if not name.startswith("neon")][-1] == "amx"
    compiled = "amx" in library.build_info("cpu")["instruction_sets"]
    has = {"amx_tile", "amx_bf16", "avx512_bf16", "avx512_vnni", "avx512bw", "avx512dq", "avx512vl"} <= features.flags
    assert ("amx" in features.instruction_sets) == (compiled and has)


def test_dot_products_of_arm_are_listed_only_where_usable():
    features = library.cpu_features()

    compiled = "neon_dotprod" in library.build_info("cpu")["instruction_sets"]
    assert ("neon_dotprod" in features.instruction_sets) == (compiled and "neon_dotprod" in features.flags)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="no /proc/cpuinfo to compare with")
def test_the_features_are_those_the_kernel_reports():
    text = Path("/proc/cpuinfo").read_text()
    if "flags\t" not in text:
        pytest.skip("this kernel names the features of another architecture")
    flags = set(re.search(r"^flags\s*:(.*)$", text, flags=re.MULTILINE)[1].split())

    assert library.cpu_features().flags == flags & set(abi.FLAGS)


def test_the_peak_does_all_the_work_it_counts():
    # A compiler that merges the independent sums reported 651 GFLOP/s here where 217 were possible.
    lanes = {"portable": 4, "avx2": 8, "neon_dotprod": 4}
    for instruction_set in library.cpu_features().instruction_sets:
        units = 4 if "neon" in library.cpu_features().flags else 2
        limit = 2 * lanes.get(instruction_set, 16) * units * 6e9  # no processor of 2026 holds 6 GHz

        assert library.multiply_add_peak(seconds=0.02, instruction_set=instruction_set) < limit


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: library.read_bandwidth(4095), "bytes is 4095, it must be 4096 to"),
        (lambda: library.read_bandwidth(2**32 + 1), "bytes is 4294967297"),
        (lambda: library.read_bandwidth(-1), "bytes is -1"),
        (lambda: library.read_bandwidth(4096, seconds=0), "seconds is 0"),
        (lambda: library.multiply_add_peak(seconds=float("nan")), "seconds is nan"),
        (lambda: library.multiply_add_peak(seconds=1e9), "seconds is 1e\\+09"),
        (lambda: library.multiply_add_peak("float16"), "'float16' is not known; choose one of float32"),
        (
            lambda: library.multiply_add_peak(instruction_set="avx1024"),
            "'avx1024' is not known; choose one of portable",
        ),
    ],
)
def test_a_request_out_of_range_says_what_was_asked_and_what_may_be(call, message):
    with pytest.raises(InputError, match=message):
        call()


# CUDA


def test_a_cuda_library_without_a_gpu_says_why():
    if reason := library.missing("cuda"):
        pytest.skip(reason)
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is an NVIDIA driver here")

    with pytest.raises(BackendUnavailable, match=r"^no NVIDIA driver on this machine"):
        library.cuda_devices()


@pytest.mark.gpu
def test_the_properties_of_a_gpu_are_plausible():
    if reason := library.missing("cuda"):
        pytest.skip(reason)
    try:
        devices = library.cuda_devices()
    except BackendUnavailable as error:
        pytest.skip(f"no GPU: not measured ({error})")

    for device in devices:
        assert device.name
        assert device.compute_capability >= (5, 0)
        assert device.multiprocessors > 0
        assert 48 << 10 <= device.shared_per_block <= 1 << 20
        assert device.memory > device.l2 > 0
