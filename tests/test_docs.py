"""The pages are true where a program can tell: the map lists every file, links lead somewhere, and examples run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((CHECKOUT / "examples").glob("*.py"))
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "recipes/*/*.md", "fastwave/bundled/*/*.md")
    for page in CHECKOUT.glob(pattern)
)
MAPPED = {
    "fastwave": {".py"},
    "kernels": {".py"},
    "csrc": {".h", ".in", ".cpp", ".cu", ".txt", ".map"},
    "bench": {".py", ".sh"},
}

if not (CHECKOUT / "docs").exists():
    pytest.skip("the pages are not beside these tests, which were copied to another folder", allow_module_level=True)


def files_on_the_map():
    """The map has a line for each folder, then lines indented by two: a name, or `name.h, .cpp` for a pair."""
    text = (CHECKOUT / "docs" / "architecture.md").read_text()
    (listing,) = re.findall(r"^```text\n(fastwave/.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    folder, files = Path(), set()
    for line in listing.splitlines():
        if heading := re.match(r"(\S+)/\s", line):
            folder = Path(heading[1])
        elif entry := re.match(r"  (\S+?)(?:, (\.\w+))?\s{2,}\S", line):
            files.add(folder / entry[1])
            if entry[2]:
                files.add((folder / entry[1]).with_suffix(entry[2]))
    return {file.as_posix() for file in files if file.suffix and file.parts[0] in MAPPED}


def files_of_the_checkout():
    """Sources in the folders of MAPPED, without the `__init__` of a room, which only says what the room is."""
    for folder, suffixes in MAPPED.items():
        for path in (CHECKOUT / folder).rglob("*"):
            name = path.relative_to(CHECKOUT).as_posix()
            if path.suffix in suffixes and (path.name != "__init__.py" or name == "fastwave/__init__.py"):
                yield name


def test_the_map_lists_every_file_and_no_other():
    assert files_on_the_map() == set(files_of_the_checkout())


def anchors(page):
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: {target.name} has no such heading"


def test_there_are_examples():
    assert {"training_loop.py", "live_streaming.py"} <= {path.name for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_writes_what_it_says_into_the_current_folder(path, tmp_path):
    run = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    written = [file.name for file in tmp_path.rglob("*") if file.is_file()]
    assert written
    assert all(f"`{name}`" in path.read_text() for name in written)
