"""Is an installed fastwave the checkout's, file for file? python installed_files.py CHECKOUT INSTALLED [--libraries]

Every file must be there, with the same bytes, and no other. Native libraries are compared with --libraries, where both
sides have built them.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

LIBRARIES = (".so", ".dylib")


def files_in(folder: Path) -> dict[str, Path]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path for path in files}


def digests_of(folder: Path, libraries: bool) -> dict[str, str]:
    """{path in the package: digest}; `folder` is the package, or its checkout, where the kernels lie elsewhere."""
    files = files_in(folder)
    if (folder / "setup.py").exists():
        files = files_in(folder / "fastwave")
        files |= {f"kernels/{name}": path for name, path in files_in(folder / "kernels").items()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if libraries or path.suffix not in LIBRARIES
    }


def differences(checkout: Path, installed: Path, libraries: bool = False) -> list[str]:
    """Names of files that only one of the two has, or that differ."""
    expected, actual = (digests_of(folder, libraries) for folder in (checkout, installed))
    return sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))


if __name__ == "__main__":
    checkout, installed = Path(sys.argv[1]), Path(sys.argv[2])
    differ = differences(checkout, installed, "--libraries" in sys.argv)
    count = len(digests_of(installed, "--libraries" in sys.argv))
    print(f"{count} files of {installed} compared with {checkout}: {', '.join(differ) or 'all the same'}")
    sys.exit(bool(differ) or count < 40)  # fewer files are no fastwave
