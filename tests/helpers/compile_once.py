"""A compiler launcher for CMake that compiles the same source with the same flags once, and copies it after that.

    CMAKE_CXX_COMPILER_LAUNCHER="python3;compile_once.py;FOLDER" pip install .

One run of CI builds the same libraries many times over: a wheel, an editable install, and the wheels of
test_package.py. An object is taken from FOLDER where compiler, flags, source and every header that the compiler read
are those that made it. An object is not kept if the compiler gave a warning for it; therefore -Werror may differ, which
changes nothing else, and so may `-Xptxas=-v`, which only prints. Paths of the source and build folders may differ too.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPORT = "-Xptxas=-v"  # always passed to nvcc; what it prints is shown if the command asked for it
SAME_CODE = {REPORT, "-Werror", "-Werror=all-warnings"}


def environment(folder: Path) -> dict[str, str]:
    """Variables that make CMake launch its compilers through this file; those that are already set stay as they are."""
    launcher = f"{sys.executable};{Path(__file__).resolve()};{folder}"
    names = ("CMAKE_CXX_COMPILER_LAUNCHER", "CMAKE_CUDA_COMPILER_LAUNCHER")
    return {name: os.environ.get(name, launcher) for name in names}


def digest_of(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class Paths:
    """Replaces the folders that differ from build to build by fixed names, and back."""

    def __init__(self, command: list[str]) -> None:
        include = (each[2:] for each in command if each.startswith("-I"))
        source = next((each for each in include if Path(each, "fastwave.h").exists()), None)
        pairs = [(str(Path.cwd()), "<build>"), (source, "<source>")]
        self.pairs = sorted(((path, name) for path, name in pairs if path), key=lambda pair: -len(pair[0]))

    def hidden(self, text: str) -> str:
        for path, name in self.pairs:
            text = text.replace(path, name)
        return text

    def shown(self, text: str) -> str:
        for path, name in self.pairs:
            text = text.replace(name, path)
        return text


def dependencies(rules: str) -> list[str]:
    """The files of a depfile: `object: source header ...`, with continued lines."""
    return shlex.split(rules.replace("\\\n", " ").split(":", 1)[1])


def main(folder: Path, command: list[str]) -> int:
    options = dict(itertools.pairwise(command))
    if not {"-c", "-o", "-MF"} <= set(command) or "-g" in command:  # debugging information holds paths
        return subprocess.run(command, check=False).returncode
    target, rules, paths = Path(options["-o"]), Path(options["-MF"]), Paths(command)
    flags = [paths.hidden(each) for each in command if each not in SAME_CODE]
    shelf = folder / hashlib.sha256(json.dumps(flags).encode()).hexdigest()
    entry = find(shelf, paths) or compile_into(shelf, command, target, rules, paths)
    if isinstance(entry, int):
        return entry
    shutil.copyfile(entry / "object", target)
    rules.write_text(paths.shown((entry / "rules").read_text()))
    if REPORT in command:
        sys.stderr.write((entry / "report").read_text())
    return 0


def find(shelf: Path, paths: Paths) -> Path | None:
    """The entry that was compiled from the files as they are now."""
    for entry in shelf.glob("entry-*"):
        digests = json.loads((entry / "digests").read_text())
        files = {paths.shown(name): digest for name, digest in digests.items()}
        if all(os.path.exists(path) and digest_of(path) == digest for path, digest in files.items()):
            return entry
    return None


def compile_into(shelf: Path, command: list[str], target: Path, rules: Path, paths: Paths) -> Path | int:
    """Compile; -> a new entry, or the exit status where nothing may be kept."""
    ptxas = [REPORT] if "nvcc" in Path(command[0]).name and REPORT not in command else []
    done = subprocess.run([*command, *ptxas], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode or not rules.exists() or re.search("warning|error", done.stderr):
        sys.stderr.write(done.stderr)
        return done.returncode
    shelf.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=shelf))
    shutil.copyfile(target, new / "object")
    text = rules.read_text()
    (new / "rules").write_text(paths.hidden(text))
    (new / "report").write_text(done.stderr)
    files = sorted(set(dependencies(text)))
    (new / "digests").write_text(json.dumps({paths.hidden(os.path.abspath(path)): digest_of(path) for path in files}))
    return new.rename(shelf / new.name.replace("new-", "entry-"))  # whole or not at all, with two builds at a time


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
