"""What MkDocs runs for each page: the blocks of the pages to learn from, and links that leave docs/.

The pages are also read in the repository, where a link may lead to any of its files. So each file that a page links to
becomes a page of the site, below source/: a markdown file as it is, any other as a listing.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
import cells

ROOT = Path(__file__).resolve().parents[2]
FENCED = re.compile(r"(^```.*?^```$)", flags=re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
LANGUAGES = {".py": "python", ".cpp": "cpp", ".h": "cpp", ".cu": "cuda", ".c": "c", ".json": "json", ".sh": "bash"}

_shown: dict[str, list[str]] = {}  # page -> HTML of what each block shows
_origin: dict[str, PurePosixPath] = {}  # page of the site -> the file that it is made from, in the repository


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each file outside of docs/ that a page links to, directly or through others."""
    _origin.clear()
    waiting = []
    for file in files.documentation_pages():
        _origin[file.src_uri] = PurePosixPath("docs", file.src_uri)
        waiting.append((file.src_uri, Path(file.abs_src_path).read_text()))
    while waiting:
        uri, text = waiting.pop()
        for target in _links(text, _origin[uri].parent):
            page = _page_of(target)
            if page in _origin or target.parts[0] == "docs":
                continue
            if not (ROOT / target).exists():
                raise FileNotFoundError(f"{_origin[uri]} links to {target}, which does not exist")
            _origin[page] = target
            listing = _listing(target)
            files.append(File.generated(config, page, content=listing))
            waiting.append((page, listing))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Run the blocks of a page to learn from, mark where its outputs go, and lead links to pages of the site."""
    uri = page.file.src_uri
    if uri.startswith("learn/"):
        _shown[uri] = cells.run(markdown, uri)
        numbers = iter(range(len(_shown[uri])))
        markdown = cells.BLOCK.sub(lambda block: _marked(block[0], next(numbers)), markdown)
    parts = FENCED.split(markdown)
    parts[::2] = [LINK.sub(lambda link: _moved(link, uri), part) for part in parts[::2]]
    return "".join(parts)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Put what each block showed below it."""
    for number, shown in enumerate(_shown.get(page.file.src_uri, ())):
        html = html.replace(_mark(number), f'<div class="ran">{shown}</div>')
    return html


def _mark(number: int) -> str:
    return f'<div data-block="{number}"></div>'


def _marked(block: str, number: int) -> str:
    """A block, folded if all it does is to draw, and the place of its output."""
    if block.startswith("```python\n# Drawing"):
        block = '??? quote "How this is drawn"\n\n' + re.sub("^(?=.)", "    ", block, flags=re.MULTILINE)
    return f"{block}\n\n{_mark(number)}\n"


def _links(text: str, folder: PurePosixPath) -> list[PurePosixPath]:
    """The files, from the root of the repository, that a text in `folder` links to."""
    return [_target(link[1], folder) for part in FENCED.split(text)[::2] for link in LINK.finditer(part)]


def _target(link: str, folder: PurePosixPath) -> PurePosixPath:
    return PurePosixPath(os.path.normpath(folder / link))


def _page_of(target: PurePosixPath) -> str:
    """The page of the site that shows a file of the repository."""
    if target.parts[0] == "docs":
        return target.relative_to("docs").as_posix()
    return f"source/{target}" if target.suffix == ".md" else f"source/{target}.md"


def _moved(link: re.Match[str], uri: str) -> str:
    page = _page_of(_target(link[1], _origin[uri].parent))
    return os.path.relpath(page, PurePosixPath(uri).parent) + (link[2] or "")


def _listing(target: PurePosixPath) -> str:
    """A page that shows a file of the repository, or names the files of a folder."""
    path = ROOT / target
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir() if file.is_file())
        return f"# {target}\n\n" + "\n".join(f"- [{name}]({target.name}/{name})" for name in names)
    text = path.read_text()
    if target.suffix == ".md":
        return text
    return f"# {target}\n\n``````{LANGUAGES.get(target.suffix, 'text')}\n{text}\n``````\n"
