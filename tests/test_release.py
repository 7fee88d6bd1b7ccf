"""What a release consists of: wheels for every manylinux system, the same bytes each time, a bill of materials."""

import dataclasses
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / ".ci" / "wheels.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SCRIPT.exists(), reason="no source tree around these tests"),
    pytest.mark.skipif(sys.platform != "linux", reason="manylinux wheels are made on Linux"),
]
for needed in ("build", "cmake", "ninja", "auditwheel", "elftools", "packaging"):
    pytest.importorskip(needed, reason=f"a release needs {needed}: pip install fastwave[release]")
wheels = pytest.importorskip("wheels", reason="no source tree around these tests")
import sbom  # noqa: E402


def make_release(out, compilers, *more):
    """Run the script for this machine, and for more architectures."""
    command = [sys.executable, SCRIPT, out]
    for architecture in (platform.machine(), *more):
        command += ["--architecture", architecture]
    environment = {**os.environ, **compilers, "SOURCE_DATE_EPOCH": "1750000000"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def release(tmp_path_factory, compilers):
    """The folder of a release: for this machine, and for 64-bit ARM where it can be compiled for."""
    more = ["aarch64"] if platform.machine() != "aarch64" and shutil.which("aarch64-linux-gnu-g++") else []
    return make_release(tmp_path_factory.mktemp("release") / "first", compilers, *more)


def wheel_of(release, architecture=None):
    (wheel,) = release.glob(f"*_{architecture or platform.machine()}.whl")
    return wheel


@pytest.fixture(scope="module")
def sources(release, tmp_path_factory):
    """The source distribution, unpacked."""
    (archive,) = release.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("sources")
    with tarfile.open(archive) as tar:
        assert all(not each.uid and not each.uname and each.mtime == 1_750_000_000 for each in tar.getmembers())
        tar.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return unpacked


def test_a_wheel_is_named_after_the_oldest_system_on_which_it_works(release):
    found = list(release.glob("*.whl"))
    assert found
    for wheel in found:
        with zipfile.ZipFile(wheel) as archive:
            library = sbom.read_library(archive.read("fastwave/libfastwave_cpu.so"))
        symbols = {name for names in library.versions.values() for name in names if name.startswith("GLIBC_2.")}
        newest = max(int(name.split(".")[1]) for name in symbols)
        assert re.fullmatch(rf"fastwave-[\d.]+-py3-none-manylinux_2_{newest}_(x86_64|aarch64)\.whl", wheel.name)
        if int(platform.libc_ver()[1].split(".")[1]) <= 36:
            assert newest <= 34  # so RHEL 9 and Amazon Linux 2023 can use it, though Debian 12 has 2.36
        assert set(library.needed) <= {"libc.so.6", "libm.so.6", "libgcc_s.so.1", *LOADERS}


LOADERS = ("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1")


def test_pip_installs_the_wheel_and_it_generates(release, tmp_path):
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--target",
        tmp_path,
        wheel_of(release),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    program = (
        "import fastwave; from fastwave.runtime import library; assert library.missing('cpu') is None;"
        "print(fastwave.__file__, fastwave.generate('pluck', seconds=0.05, backend='cpu').samples.shape)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path)) and "800" in done.stdout


def test_a_second_build_gives_the_same_bytes(release, compilers, tmp_path):
    """Objects are compiled once for both; everything else is made again, in other folders."""
    again = make_release(tmp_path / "second", compilers)
    names = sorted(path.name for path in again.iterdir() if path.name != "SHA256SUMS")
    assert len(names) == 3
    assert [name for name in names if (release / name).read_bytes() != (again / name).read_bytes()] == []


def test_the_sums_are_those_of_the_files(release):
    sums = dict(reversed(line.split("  ")) for line in (release / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.name for path in release.iterdir()} - {"SHA256SUMS"}
    assert all(hashlib.sha256((release / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())


def test_a_release_goes_into_a_folder_of_its_own(release):
    done = subprocess.run([sys.executable, SCRIPT, release], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "is not empty" in done.stderr


# What must not be published


def changed(wheel, folder, name, change):
    """A copy of a wheel in which one file is another; None leaves it out."""
    copy = folder / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(copy, "w") as target:
        names = source.namelist()
        full = next((each for each in names if each.endswith(name)), name)
        for each in names:
            if each != full:
                target.writestr(each, source.read(each))
        data = change(source.read(full) if full in names else b"")
        if data is not None:
            target.writestr(full, data)
    return copy


LIBRARY = "fastwave/libfastwave_cpu.so"


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("fastwave/model.py", lambda data: None, "fastwave/model.py is missing"),
        ("fastwave/kernels/__init__.py", lambda data: data + b"#", "fastwave/kernels/__init__.py is missing"),
        ("licenses/NOTICE", lambda data: None, "the NOTICE is missing"),
        ("licenses/LICENSE", lambda data: data[1:], "the LICENSE is missing"),
        (LIBRARY, lambda data: None, "its native libraries are []"),
        ("fastwave/libfastwave_cuda.so", lambda data: b"\x7fELF", "libfastwave_cuda.so']; they should be"),
        (LIBRARY, lambda data: data[:18] + b"\x28\x00" + data[20:], "is for EM_ARM, not"),
        (LIBRARY, lambda data: data.replace(b"libm.so.6", b"libz.so.1"), "needs libz.so.1"),
        (LIBRARY, lambda data: data.replace(b"GCC: (", b"/tmp/("), "names a folder of the machine"),
        (LIBRARY, lambda data: data.replace(b'"portable"', b'"pretable"'), "has the instruction sets ['pretable"),
        ("WHEEL", lambda data: data.replace(b"manylinux_2", b"linux_2"), "its tags are"),
        ("WHEEL", lambda data: re.sub(rb"manylinux_2_\d+", b"manylinux_2_17", data), "its name does not say its tags"),
    ],
)
def test_a_wheel_that_is_not_what_it_should_be_is_refused(release, sources, tmp_path, name, change, words):
    wheels.check(wheel_of(release), sources, platform.machine())
    if "cuda" in name:
        wrong = changed(wheel_of(release), tmp_path, name, lambda _: zipfile.ZipFile(wheel_of(release)).read(LIBRARY))
    else:
        wrong = changed(wheel_of(release), tmp_path, name, change)
    with pytest.raises(SystemExit, match=re.escape(words)):
        wheels.check(wrong, sources, platform.machine())


# The bill of materials


def bill_of(release):
    return json.loads(wheel_of(release).with_suffix(".cdx.json").read_text())


def test_the_bill_of_materials_is_valid_cyclonedx(release):
    pytest.importorskip("cyclonedx", reason="the schema is in cyclonedx-python-lib[json-validation]")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    found = list(release.glob("*.cdx.json"))
    assert len(found) == len(list(release.glob("*.whl")))
    for path in found:
        assert validator.validate_str(path.read_text()) is None
    assert validator.validate_str(found[0].read_text().replace('"library"', '"novel"')) is not None


def test_the_bill_of_materials_names_all_that_is_shipped_with_its_licence(release):
    bill, wheel = bill_of(release), wheel_of(release)
    parts = {part["name"]: part for part in bill["components"]}
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name: archive.read(name) for name in archive.namelist()}
    for name, data in shipped.items():
        if name.endswith((".so", ".safetensors", ".xz")):
            assert parts[name]["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}]
            assert parts[name]["licenses"]
    known = ("/", ".py", ".so", ".safetensors", ".xz", ".json", ".md", ".html", "py.typed")
    assert [name for name in shipped if ".dist-info/" not in name and not name.endswith(known)] == []
    library = parts["fastwave/libfastwave_cpu.so"]
    assert [part["name"] for part in library["components"]] == ["libstdc++"]
    assert parts["fastwave/speech/text/data/lexicon.xz"]["licenses"] == [{"license": {"id": "BSD-2-Clause"}}]
    hazel = parts["fastwave/speech/voices/hazel/acoustic.safetensors"]["properties"]
    assert any("hibari-tts" in each["value"] for each in hazel) and any("Kokoro" in each["value"] for each in hazel)
    assert bill["metadata"]["component"]["hashes"][0]["content"] == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_the_bill_of_materials_of_a_cuda_library_names_the_runtime_in_it(release):
    with zipfile.ZipFile(wheel_of(release)) as archive:
        library = sbom.read_library(archive.read(LIBRARY))
    cuda = dataclasses.replace(library, build_info={**library.build_info, "toolkit": "12.8.61"})
    linked = {part["name"]: part["version"] for part in sbom.linked_into("libfastwave_cuda.so", cuda)}
    assert set(linked) == {"libstdc++", "cudart_static"} and linked["cudart_static"] == "12.8.61"
    assert sbom.linked_into("x.so", dataclasses.replace(library, has_libstdcxx=False)) == []


def test_the_bill_of_materials_names_what_is_needed_in_the_tested_versions(release):
    parts = {part["name"]: part for part in bill_of(release)["components"]}
    tested = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), flags=re.M))
    for name in ("torch", "numpy", "soundfile", "soxr", "safetensors", "tqdm"):
        assert parts[name]["version"] == tested[name] and parts[name]["scope"] == "required"
    assert parts["fastapi"]["scope"] == "optional" and parts["libc.so.6"]["scope"] == "excluded"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.replace(b"- licence: ", b"- "), "no card beside it that says its licence"),
        (lambda card: card.replace(b"- trained ", b"- "), "does not say what it was made from"),
    ],
)
def test_weights_without_licence_or_origin_are_refused(release, sources, tmp_path, change, words):
    wheel = changed(wheel_of(release), tmp_path, "fastwave/bundled/pluck/README.md", change)
    with pytest.raises(SystemExit, match=words):
        sbom.text_of(wheel, sources, 0)
