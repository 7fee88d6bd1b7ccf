"""The house stays the house: floors, what an import may load, environment variables, and a README that runs."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import fastwave

PACKAGE = Path(fastwave.__file__).parent
CHECKOUT = Path(__file__).resolve().parent.parent

# Top to bottom. A module imports only from floors below its own.
FLOORS = [
    ["__main__"],
    ["cli"],
    ["cli_train"],
    ["train"],
    ["doctor", "listen"],
    ["generate", "measure"],
    ["engine"],
    ["cpu_engine", "cuda_engine"],
    ["native_engine"],
    ["reference_engine", "progress"],
    ["model", "state"],
    ["conditioning", "checkpoint", "data", "ops", "head_loss"],
    ["backends", "config", "prepare", "report", "cpu_stack", "cpu_head", "eager_stack"],
    ["reference", "native", "codec", "audio", "features", "journal"],
    ["distributions", "noise", "files", "settings", "parallel", "drawing", "sources"],
    ["errors", "kernels", "machine", "recycled"],
]
LEVEL = {module: level for level, modules in enumerate(FLOORS) for module in modules}


def imports_of(path):
    """(module of fastwave or of somebody else, whether at the top of the file) for every import of a file."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        top = node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level:
            for name in [node.module] if node.module else [alias.name for alias in node.names]:
                yield "." + name.split(".")[0], top
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0], top
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], top


def modules():
    return sorted(path for path in PACKAGE.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_imports_only_go_down(path):
    assert path.stem in LEVEL, f"{path.stem} has no floor: give it one here and a line in the map of the README"
    for name, _ in imports_of(path):
        module = name.lstrip(".")
        if name.startswith(".") and module in LEVEL:
            assert LEVEL[module] > LEVEL[path.stem], f"{path.stem} imports {module}, which is not below it"


def test_the_reference_knows_only_tensors():
    assert {name for name, _ in imports_of(PACKAGE / "reference.py")} == {"__future__", "collections", "torch"}


def test_only_native_knows_ctypes():
    users = [path.stem for path in modules() if "ctypes" in {name for name, _ in imports_of(path)}]
    assert users == ["native"]


def test_import_loads_no_native_library_no_triton_no_soundfile(tmp_path):
    code = (
        "import sys, torch, numpy; before = set(sys.modules); import fastwave; "
        "new = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "from fastwave import native; "
        "maps = open('/proc/self/maps').read() if sys.platform == 'linux' else ''; "
        "assert not new & {'triton', 'soundfile', 'soxr', 'tqdm', 'scipy'}, new; "
        "assert 'libfastwave' not in maps and 'libsndfile' not in maps"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=tmp_path)


def test_import_takes_under_300_ms_more_than_torch(tmp_path):
    """Import times of torch and of fastwave on top of it, in one process: the best of three."""
    code = "import time, torch, numpy; begun = time.perf_counter(); import fastwave; print(time.perf_counter() - begun)"
    command = [sys.executable, "-c", code]  # started elsewhere: in a checkout it would import the folder beside it
    runs = [subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < 0.3


def test_there_are_three_environment_variables():
    texts = [path.read_text() for path in modules()]
    for name in ("setup.py", "csrc/CMakeLists.txt"):
        if (CHECKOUT / name).exists():
            texts.append((CHECKOUT / name).read_text())
    allowed = {"FASTWAVE_BACKEND", "FASTWAVE_CUDA", "FASTWAVE_CUDA_ARCHS"}
    read = set(re.findall(r"(?:environ(?:\.get|\[|\.pop)?\(?\[?|getenv\()\s*[\"'](\w+)", " ".join(texts)))
    assert {name for name in read if name.startswith("FASTWAVE")} <= allowed
    python = [path for path in modules() if "os.environ" in path.read_text()]
    assert [path.stem for path in python] == ["backends"]


# The README is executed


def readme_blocks(language):
    path = CHECKOUT / "README.md"
    if not path.exists():
        pytest.skip("the README is not here: these tests run from another folder")
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), flags=re.DOTALL)


def test_python_blocks_of_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = readme_blocks("python")
    assert blocks
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


def test_commands_of_the_readme_exist():
    """Every `fastwave ...` line parses; those that need no trained model of yours are run by CI."""
    from fastwave.cli import _parser

    lines = [line for block in readme_blocks("bash") for line in block.splitlines() if line.startswith("fastwave ")]
    assert lines
    for line in lines:
        _parser().parse_args(shlex.split(line.split("#")[0])[1:])
