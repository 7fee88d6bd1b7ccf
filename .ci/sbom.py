"""A bill of materials of a wheel, in CycloneDX 1.6: python .ci/sbom.py WHEEL SOURCES prints it.

It lists what is shipped (native libraries with what is linked into them, trained weights and other data with licence
and origin), and what is needed but not shipped (Python packages, libraries of the system). Everything is read from the
wheel and from the sources that it was built of; a data file whose licence is said nowhere is an error.
"""

from __future__ import annotations

import datetime
import email
import hashlib
import io
import json
import re
import sys
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from elftools.elf.elffile import ELFFile
from packaging.requirements import Requirement

DATA = (".safetensors", ".xz")  # what was trained, or made from the work of others
RUNTIME_LICENCE = "GPL-3.0-or-later WITH GCC-exception-3.1"  # of libstdc++


@dataclass(frozen=True)
class Library:
    """What an ELF file says of itself."""

    machine: str
    needed: list[str]  # shared libraries
    versions: dict[str, list[str]]  # of symbols, by shared library
    compilers: list[str]
    build_info: dict[str, Any]  # what fw_build_info_cpu gives
    has_libstdcxx: bool  # linked into it
    strings: str


def read_library(data: bytes) -> Library:
    """Read an ELF file."""
    elf = ELFFile(io.BytesIO(data))
    dynamic, versions = elf.get_section_by_name(".dynamic"), elf.get_section_by_name(".gnu.version_r")
    strings = data.decode("latin-1")
    info = re.search(r'\{[^{}\0]*"build_type"[^{}\0]*\}', strings)
    if info is None:
        raise SystemExit("a native library does not say how it was built.")
    return Library(
        machine=elf.header["e_machine"],
        needed=sorted(tag.needed for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"),
        versions={
            verneed.name: sorted((aux.name for aux in auxiliaries), key=version_key)
            for verneed, auxiliaries in versions.iter_versions()
        },
        compilers=sorted(set(filter(None, elf.get_section_by_name(".comment").data().decode().split("\0")))),
        build_info=json.loads(info[0]),
        has_libstdcxx="St9exception" in strings,  # the name of std::exception's type, in its own data
        strings=strings,
    )


def version_key(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def text_of(wheel: Path, sources: Path, epoch: int) -> str:
    """The bill of materials of a wheel as JSON; the same wheel gives the same text."""
    return json.dumps(document(wheel, sources, epoch), indent=2, ensure_ascii=False) + "\n"


def document(wheel: Path, sources: Path, epoch: int) -> dict[str, Any]:
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    metadata = email.message_from_bytes(
        next(data for name, data in files.items() if name.endswith(".dist-info/METADATA"))
    )
    name, version = metadata["Name"], metadata["Version"]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    product = f"pkg:pypi/{name}@{version}?file_name={wheel.name}"
    shipped = [*libraries_of(files), *data_of(files, sources)]
    system = system_libraries_of(files)
    needed, optional = packages_of(metadata.get_all("Requires-Dist") or [], sources / "constraints.txt")
    components = [*shipped, *needed, *optional, *system]
    edges = {product: [part["bom-ref"] for part in (*shipped, *needed)]}
    for part in shipped:
        edges[part["bom-ref"]] = [each["bom-ref"] for each in system] if part["name"].endswith(".so") else []
    for part in (*needed, *optional, *system):
        edges[part["bom-ref"]] = []
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{product}#{digest}')}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {"components": [{"type": "application", "name": "fastwave .ci/sbom.py"}]},
            "component": {
                "type": "library", "bom-ref": product, "purl": product, "name": name, "version": version,
                "description": metadata["Summary"], "hashes": [sha256(digest)],
                "licenses": licences(metadata["License-Expression"]),
            },
        },
        "components": components,
        "dependencies": [{"ref": ref, "dependsOn": sorted(parts)} for ref, parts in sorted(edges.items())],
    }  # fmt: skip


def libraries_of(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """The native libraries, each with what is linked into it."""
    found = []
    for name, data in sorted(files.items()):
        if not name.endswith(".so"):
            continue
        library = read_library(data)
        info = {
            key: ", ".join(value) if isinstance(value, list) else value for key, value in library.build_info.items()
        }
        properties = {
            **{f"fastwave:{key}": value for key, value in info.items() if value},
            "fastwave:elf_machine": library.machine,
            "fastwave:compiled_by": "; ".join(library.compilers),
            **{f"fastwave:newest_symbol:{of}": names[-1] for of, names in library.versions.items()},
        }
        part = {
            "type": "library", "bom-ref": name, "name": name, "version": library.build_info["version"],
            "scope": "required", "hashes": [sha256(hashlib.sha256(data).hexdigest())], "licenses": licences("MIT"),
            "properties": [{"name": key, "value": value} for key, value in sorted(properties.items())],
        }  # fmt: skip
        if linked := linked_into(name, library):
            part["components"] = linked
        found.append(part)
    return found


def linked_into(name: str, library: Library) -> list[dict[str, Any]]:
    """Code of others in a native library."""
    parts = []
    if library.has_libstdcxx:
        version = re.findall(r"\d+\.\d+\.\d+", library.compilers[0])[-1]
        parts.append(("libstdc++", version, "the C++ standard library", licences(RUNTIME_LICENCE)))
    if toolkit := library.build_info.get("toolkit"):  # of libfastwave_cuda
        parts.append(
            ("cudart_static", toolkit, "the CUDA runtime", [{"license": {"name": "NVIDIA CUDA Toolkit EULA"}}])
        )
    return [
        {
            "type": "library", "bom-ref": f"{name}#{part}", "name": part, "version": version,
            "description": f"the parts of {text} that are used, linked statically", "licenses": terms,
        }
        for part, version, text, terms in parts
    ]  # fmt: skip


def system_libraries_of(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """The shared libraries that the native ones expect on the system."""
    versions: dict[str, str] = {}
    for name, data in files.items():
        if name.endswith(".so"):
            library = read_library(data)
            for needed in library.needed:
                names = [*library.versions.get(needed, []), versions.get(needed, "")]
                versions[needed] = max(names, key=version_key)
    return [
        {
            "type": "library", "bom-ref": f"system:{name}", "name": name, "scope": "excluded",
            "description": "of the operating system, not shipped",
            "properties": [{"name": "fastwave:newest_symbol", "value": version or "none"}],
        }
        for name, version in sorted(versions.items())
    ]  # fmt: skip


def data_of(files: dict[str, bytes], sources: Path) -> list[dict[str, Any]]:
    """Trained weights and other data, each with the licence and the origin that its card gives."""
    notice = (sources / "NOTICE").read_text(encoding="utf-8")
    found = []
    for name, data in sorted(files.items()):
        if not name.endswith(DATA):
            continue
        folder = PurePosixPath(name).parent
        cards = (files.get(f"{parent}/README.md") for parent in (folder, folder.parent))
        card = next((text for text in cards if text and b"\n- licence: " in text), None)
        if card is None:
            raise SystemExit(f"{name} has no card beside it that says its licence: a README.md with `- licence: ...`.")
        text = card.decode()
        points = [" ".join(point.split()) for point in re.findall(r"^- (.*(?:\n  .*)*)", text, flags=re.M)]
        licence = next(point for point in points if point.startswith("licence: ")).removeprefix("licence: ")
        origin = [point for point in points if point.startswith(("trained ", "made "))]
        if not origin:
            raise SystemExit(f"the card of {name} does not say what it was made from: `- trained ...` or `- made ...`.")
        said = [" ".join(part.split()) for part in notice.split("\n\n") if is_about(part, folder)]
        part = {
            "type": "machine-learning-model" if name.endswith(".safetensors") else "data",
            "bom-ref": name, "name": name, "scope": "required",
            "description": text.partition("\n")[0].removeprefix("# "),
            "hashes": [sha256(hashlib.sha256(data).hexdigest())],
            "licenses": licences(re.match(r"[\w.-]+", licence)[0]),
            "properties": [{"name": "fastwave:origin", "value": point} for point in (*origin, *said)],
        }  # fmt: skip
        found.append(part)
    return found


def is_about(paragraph: str, folder: PurePosixPath) -> bool:
    """Whether a paragraph of NOTICE begins with a folder, or with a file in it."""
    path = re.match(r"fastwave/[\w/.]*\w", paragraph)
    return path is not None and folder.is_relative_to(re.sub(r"/[^/]+\.\w+$", "", path[0]))


def packages_of(requirements: list[str], constraints: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The Python packages that are needed, and those of extras, in the versions that were tested."""
    tested = dict(re.findall(r"^([\w-]+)==(\S+)", constraints.read_text(), flags=re.M))
    parts: dict[str, dict[str, Any]] = {}
    for text in requirements:
        requirement = Requirement(text)
        is_needed = "extra" not in str(requirement.marker or "")
        if requirement.name == "fastwave" or (requirement.name in parts and not is_needed):
            continue
        version = tested.get(requirement.name)
        purl = f"pkg:pypi/{requirement.name.lower()}" + (f"@{version}" if version else "")
        part = {
            "type": "library", "bom-ref": purl, "purl": purl, "name": requirement.name,
            "scope": "required" if is_needed else "optional",
            "properties": [{"name": "fastwave:accepted_versions", "value": str(requirement.specifier) or "any"}],
        }  # fmt: skip
        parts[requirement.name] = {**part, "version": version} if version else part
    ordered = [parts[name] for name in sorted(parts)]
    return (
        [part for part in ordered if part["scope"] == "required"],
        [part for part in ordered if part["scope"] != "required"],
    )


def licences(expression: str) -> list[dict[str, Any]]:
    """A licence by its SPDX name or expression."""
    return [{"expression": expression}] if " " in expression else [{"license": {"id": expression}}]


def sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}


if __name__ == "__main__":
    print(text_of(Path(sys.argv[1]), Path(sys.argv[2]), 0), end="")
