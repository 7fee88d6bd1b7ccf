"""The layout of the package: imports go down, importing loads little, and README and docs run."""

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

# Top to bottom. A folder, or a module of the core, imports only from floors below its own; inside a folder anything
# may import anything. The wings make sounds and texts of the core, which knows none of them.
FLOORS = [
    ["__main__"],
    ["cli"],
    ["speech", "music", "importers", "student", "serving"],
    ["vocoder"],
    ["training", "proof"],
    ["generation", "tools"],
    ["engine", "data"],
    ["model"],
    ["stack", "conditioning", "checkpoint"],
    ["runtime", "config", "kernels"],
    ["reference", "codec", "sound", "upsampling"],
    ["distributions", "philox", "files", "locate", "blocks", "parameters"],
    ["errors"],
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
WINGS = FLOORS[2]


def imports_of(path):
    """The dotted module behind every import of a file, wherever it stands in it: `fastwave.engine.state`, `torch`.

    A relative import is resolved from the file's own place; `from .. import x` is x itself.
    """
    package = ["fastwave", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            for alias in node.names if base == ["fastwave"] else [None]:
                yield ".".join([*base, alias.name] if alias else base)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def modules():
    """Every file of the package but its front page, which imports what is public, and the kernels."""
    files = (path for path in PACKAGE.rglob("*.py") if "kernels" not in path.parts)
    return sorted(path for path in files if path != PACKAGE / "__init__.py")


def name_of(path):
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def check_floors(name, imported):
    """`name` is a file of the package, such as engine/state; `imported` the modules that it imports."""
    room = name.split("/")[0]
    assert room in LEVEL, f"{room} has no floor: give it one here and a line in docs/architecture.md"
    for module in imported:
        if not module.startswith("fastwave."):
            continue
        other = module.split(".")[1]
        if other == room or other not in LEVEL:  # its own room, or a name such as __version__
            continue
        assert room in WINGS or room in ("cli", "__main__") or other not in WINGS, f"the core ({name}) imports a wing"
        assert LEVEL[other] > LEVEL[room], f"{name} imports {module}, which is not below it"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_only_go_down(path):
    check_floors(name_of(path), imports_of(path))


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("engine/state", "fastwave.generation.generate"),  # upwards
        ("stack/operator", "fastwave.conditioning"),  # sideways
        ("training/loop", "fastwave.speech.voice"),  # the core imports a wing
        ("music/render", "fastwave.speech.voice"),  # a wing imports another
    ],
)
def test_an_import_that_does_not_go_down_is_refused(name, imported):
    with pytest.raises(AssertionError):
        check_floors(name, [imported])


def test_relative_imports_are_resolved_from_where_the_file_stands():
    found = set(imports_of(PACKAGE / "engine" / "engine.py"))
    assert {"fastwave.engine.state", "fastwave.checkpoint", "fastwave.conditioning", "torch"} <= found


def test_no_public_function_hides_a_module_of_its_name():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    functions = {name for name in fastwave.__all__ if callable(getattr(fastwave, name))}
    assert not rooms & functions


def test_no_file_of_the_package_is_longer_than_400_lines():
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in modules()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_the_reference_knows_only_tensors():
    assert set(imports_of(PACKAGE / "reference.py")) == {"__future__", "collections.abc", "torch", "typing"}


def test_only_one_file_knows_ctypes():
    assert [name_of(path) for path in modules() if "ctypes" in set(imports_of(path))] == ["runtime/library"]


def test_import_loads_no_native_library_no_triton_no_soundfile(tmp_path):
    code = (
        "import sys, torch, numpy; before = set(sys.modules); import fastwave; "
        "[getattr(fastwave, name) for name in fastwave.__all__]; "
        "new = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "from fastwave.runtime import library; "
        "maps = open('/proc/self/maps').read() if sys.platform == 'linux' else ''; "
        "assert not new & {'triton', 'soundfile', 'soxr', 'tqdm', 'scipy'}, new; "
        "assert 'libfastwave' not in maps and 'libsndfile' not in maps"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=tmp_path)


@pytest.mark.alone
def test_import_takes_under_a_quarter_of_the_time_that_torch_takes(tmp_path):
    """Both in one process, as machines are not equally fast all the time; the best of three."""
    use = "import fastwave; [getattr(fastwave, name) for name in fastwave.__all__]"  # names are imported on first use
    clock = "time.perf_counter()"
    code = (
        f"import gc, time; begun = {clock}; import torch, numpy; gc.collect(); middle = {clock}; "  # its garbage too
        f"{use}; print(({clock} - middle) / (middle - begun))"
    )
    command = [sys.executable, "-c", code]  # started elsewhere: in a checkout it would import the folder beside it
    runs = [subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < 0.25


def test_there_are_three_environment_variables():
    texts = [path.read_text() for path in modules()]
    for name in ("setup.py", "csrc/CMakeLists.txt"):
        if (CHECKOUT / name).exists():
            texts.append((CHECKOUT / name).read_text())
    allowed = {"FASTWAVE_BACKEND", "FASTWAVE_CUDA", "FASTWAVE_CUDA_ARCHS"}
    read = set(re.findall(r"(?:environ(?:\.get|\[|\.pop)?\(?\[?|getenv\()\s*[\"'](\w+)", " ".join(texts)))
    assert {name for name in read if name.startswith("FASTWAVE")} <= allowed
    python = [path for path in modules() if "os.environ" in path.read_text()]
    assert [name_of(path) for path in python] == ["runtime/dispatch", "runtime/machine"]
    machine = (PACKAGE / "runtime" / "machine.py").read_text()
    read = re.findall(r"environ(?:\.\w+)?\(\"(\w+)\"|\"(\w+)\" not in os\.environ", machine)
    assert {a or b for a, b in read} == {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "XDG_CACHE_HOME"}  # of others
    assert machine.count("os.environ") == 3


@pytest.mark.parametrize(("folder", "other"), [("tests", "bench"), ("bench", "tests")])
def test_tests_and_benches_import_nothing_of_each_other_but_helpers(folder, other):
    if not (CHECKOUT / "bench").exists():
        pytest.skip("no bench/ around these tests")
    helpers = {path.stem for path in (CHECKOUT / "tests" / "helpers").glob("*.py")}
    foreign = {path.stem for path in (CHECKOUT / other).rglob("*.py")} - helpers - {"conftest"}
    for path in (CHECKOUT / folder).rglob("*.py"):
        assert not foreign & set(modules_named(path)), f"{path.relative_to(CHECKOUT)} imports from {other}/"


def modules_named(path):
    """What a test file imports, also by pytest.importorskip."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
            yield ast.unparse(node.args[0]).strip("'").split(".")[0]


# README and docs are executed


@pytest.fixture
def pages():
    """README and the pages of docs/, but for those of docs/learn, whose blocks run whenever the site is built."""
    if not (CHECKOUT / "README.md").exists():
        pytest.skip("the README is not here: these tests run from another folder")
    return [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]


def blocks_of(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_python_blocks_of_every_page_run(pages, tmp_path, monkeypatch):
    """Those of one page in one namespace, in an empty folder."""
    assert blocks_of(pages[0], "python")
    for page in pages:
        folder = tmp_path / page.relative_to(CHECKOUT).as_posix().replace("/", "-")  # two are named README.md
        folder.mkdir()
        monkeypatch.chdir(folder)
        namespace = {}
        for block in blocks_of(page, "python"):
            exec(compile(block, page.name, "exec"), namespace)


def test_commands_of_every_page_exist(pages):
    """Every `fastwave ...` line parses; those that need no trained model of yours are run by CI."""
    from fastwave.cli.main import _parser

    pages = [*pages, *(CHECKOUT / "docs" / "learn").glob("*.md")]
    blocks = [block for page in pages for block in blocks_of(page, "bash")]
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("fastwave ")]
    assert lines
    for line in lines:
        _parser().parse_args(shlex.split(line.split("#")[0])[1:])
