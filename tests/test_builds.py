"""What lets CI build once and test a wheel shortly is right: objects are shared, installed files are compared."""

import os
import subprocess
import sys

import pytest

import compile_once
import installed_files
import shared_builds

# Writes what it reads, names the header in the depfile, and counts its calls in a file beside it.
COMPILER = """#!{python}
import pathlib, sys
with open("{calls}", "a") as calls:
    calls.write("called\\n")
options = dict(zip(sys.argv, sys.argv[1:]))
source = pathlib.Path(options["-c"])
header = source.with_name("fastwave.h")
if "wrong" in source.read_text():
    sys.exit("error: wrong")
if "doubtful" in source.read_text():
    print("warning: doubtful", file=sys.stderr)
pathlib.Path(options["-o"]).write_text(source.read_text() + header.read_text())
pathlib.Path(options["-MF"]).write_text(f"{{options['-o']}}: {{source}} \\\\\\n {{header}}\\n")
"""


class Tree:
    """Sources in a folder of their own, and a build folder beside them."""

    def __init__(self, folder):
        self.folder, self.build = folder, folder / "build"
        self.build.mkdir(parents=True)
        self.write("one")
        (folder / "fastwave.h").write_text(" header")

    def write(self, text):
        (self.folder / "step.cpp").write_text(text)

    def compile(self, compiler, *flags):
        command = [compiler, "-O3", *flags, f"-I{self.folder}", "-MF", "step.d"]
        command += ["-c", self.folder / "step.cpp", "-o", "step.o"]
        launched = [sys.executable, compile_once.__file__, compiler.parent / "objects", *command]
        return subprocess.run(launched, cwd=self.build, capture_output=True, text=True, check=False)

    @property
    def object(self):
        return (self.build / "step.o").read_text()


@pytest.fixture
def compiler(tmp_path):
    path = tmp_path / "compiler"
    path.write_text(COMPILER.format(python=sys.executable, calls=tmp_path / "calls"))
    path.chmod(0o755)
    return path


def calls(compiler):
    return len((compiler.parent / "calls").read_text().splitlines())


@pytest.fixture
def trees(tmp_path):
    """Two equal trees in different folders."""
    return Tree(tmp_path / "a"), Tree(tmp_path / "b" / "deeper")


def test_the_same_source_is_compiled_once_wherever_it_lies(trees, compiler):
    for tree in trees:
        assert tree.compile(compiler).returncode == 0
        assert tree.object == "one header"
    rules = (trees[1].build / "step.d").read_text()
    assert str(trees[1].folder) in rules and str(trees[0].folder) not in rules
    assert calls(compiler) == 1


def test_a_changed_source_header_or_flag_is_compiled_again(trees, compiler):
    first, second = trees
    first.compile(compiler)
    second.write("two")
    second.compile(compiler)
    assert second.object == "two header"
    (second.folder / "fastwave.h").write_text(" changed")
    second.compile(compiler)
    assert second.object == "two changed"
    second.compile(compiler, "-mavx2")
    assert calls(compiler) == 4


def test_objects_with_warnings_are_not_kept_so_that_errors_of_warnings_are_seen(trees, compiler):
    trees[0].write("doubtful")
    for flags in ([], ["-Werror"]):
        assert "warning: doubtful" in trees[0].compile(compiler, *flags).stderr
    assert calls(compiler) == 2

    trees[0].write("one")
    trees[0].compile(compiler)
    trees[1].compile(compiler, "-Werror")
    assert calls(compiler) == 3


def test_a_compiler_that_fails_fails_each_time(trees, compiler):
    trees[0].write("wrong")
    for _ in range(2):
        done = trees[0].compile(compiler)
        assert done.returncode != 0 and "error: wrong" in done.stderr


def test_a_build_is_made_once_and_again_where_it_failed(tmp_path_factory, monkeypatch):
    made = []

    def build(folder):
        made.append(folder)
        if len(made) == 1:
            raise OSError("planted")

    name = f"planted-{os.getpid()}"
    with pytest.raises(OSError, match="planted"):
        shared_builds.build_once(tmp_path_factory, name, build)
    folders = {shared_builds.build_once(tmp_path_factory, name, build) for _ in range(2)}
    assert folders == set(made) and len(made) == 2


@pytest.fixture
def package(tmp_path):
    """(a checkout, the package installed from it)"""
    checkout, installed = tmp_path / "checkout", tmp_path / "installed"
    for folder, text in (("fastwave/engine", "run"), ("kernels", "launch")):
        (checkout / folder).mkdir(parents=True)
        (checkout / folder / "code.py").write_text(text)
        target = installed / folder.removeprefix("fastwave/")
        target.mkdir(parents=True)
        (target / "code.py").write_text(text)
    (checkout / "setup.py").touch()
    (installed / "libfastwave_cpu.so").write_text("code")
    return checkout, installed


def test_equal_packages_have_no_differences(package):
    assert installed_files.differences(*package) == []


@pytest.mark.parametrize("name", ["engine/code.py", "kernels/code.py"])
def test_a_file_that_differs_or_is_missing_is_named(package, name):
    (package[1] / name).write_text("other")
    assert installed_files.differences(*package) == [name]
    (package[1] / name).unlink()
    assert installed_files.differences(*package) == [name]


def test_a_stale_file_and_with_libraries_a_missing_library_is_named(package):
    (package[1] / "deleted_since.py").touch()
    assert installed_files.differences(*package) == ["deleted_since.py"]
    assert installed_files.differences(*package, libraries=True) == ["deleted_since.py", "libfastwave_cpu.so"]
