"""The site of docs/: it builds strictly, every block of the pages to learn from ran, and it loads nothing foreign."""

import contextlib
import html
import html.parser
import importlib
import json
import os
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

import fastwave
from browser import NEEDS_BROWSER, Browser, complaints

CHECKOUT = Path(__file__).resolve().parents[1]
DOCS = CHECKOUT / "docs"
if not (CHECKOUT / "mkdocs.yml").exists():
    pytest.skip("the pages are not beside these tests, which were copied to another folder", allow_module_level=True)
for module in ("material", "mkdocstrings", "matplotlib"):
    pytest.importorskip(module, reason=f'the site needs {module}: pip install "fastwave[docs]"')

yaml = pytest.importorskip("yaml")  # which MkDocs brings
LEARN = sorted((DOCS / "learn").glob("*.md"))
RUN = [page for page in LEARN if "```python\n" in page.read_text()]
pytestmark = pytest.mark.slow  # the build runs every block of RUN


@pytest.fixture(scope="module")
def scripts():
    """The modules of docs/scripts by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS / "scripts")
        yield {name: importlib.import_module(name) for name in ("cells", "notebooks")}
        for name in ("cells", "notebooks"):
            sys.modules.pop(name)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "NO_MKDOCS_2_WARNING": "1"}  # of its theme, about another project
    run = subprocess.run(command, cwd=CHECKOUT, env=alone, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


class Elements(html.parser.HTMLParser):
    """The start tags of a page, with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def loaded(page):
    """The addresses that a browser loads when it opens a page."""
    for tag, attributes in Elements(page).found:
        if tag == "link" and attributes.get("rel") not in ("canonical", "prev", "next"):
            yield attributes.get("href", "")
        elif tag not in ("a", "link"):
            yield from (attributes[name] or "" for name in ("src", "href", "xlink:href", "data") if name in attributes)
    yield from urls(page.read_text())


def urls(text):
    """What a style sheet loads."""
    named = re.findall(r"@import\s+[\"']([^\"']+)|url\(\s*[\"']?([^\"')]+)", text)
    return [imported or used for imported, used in named]


def is_foreign(address):
    return address.startswith("//") or urllib.parse.urlsplit(address).scheme not in ("", "data")


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_every_block_of_a_page_ran_and_drew_a_picture(site, scripts, page):
    built = (site / "learn" / f"{page.stem}.html").read_text()

    assert built.count('<div class="ran">') == len(scripts["cells"].blocks(page.read_text()))
    assert "data-block" not in built
    assert '<figure class="drawn"><svg role="img" aria-label="' in built


def test_sounds_can_be_heard(site):
    players = {page.stem: page.read_text().count("<audio ") for page in (site / "learn").glob("*.html")}

    assert {name: count for name, count in players.items() if count} == {"classes": 2, "drawing": 2, "conditions": 2}


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        assert not [address for address in loaded(page) if is_foreign(address)], page
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert not [address for address in urls(sheet.read_text()) if is_foreign(address)], sheet


def test_the_navigation_lists_every_page_once():
    listed = []

    def collect(entry):
        if isinstance(entry, str):
            listed.append(entry)
        else:
            for part in entry.values() if isinstance(entry, dict) else entry:
                collect(part)

    collect(yaml.safe_load((CHECKOUT / "mkdocs.yml").read_text())["nav"])

    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_links_and_anchors_of_the_site_lead_somewhere(site):
    pages = {page: Elements(page).found for page in site.rglob("*.html") if page.name != "404.html"}
    anchors = {page: {attributes.get("id") for _, attributes in found} for page, found in pages.items()}
    for page, found in pages.items():
        for tag, attributes in found:
            address = urllib.parse.urlsplit(attributes.get("href") or "")
            if tag != "a" or address.scheme:
                continue
            target = (page.parent / urllib.parse.unquote(address.path)).resolve() if address.path else page
            assert target.is_file(), f"{page}: {attributes['href']} leads nowhere"
            anchor = urllib.parse.unquote(address.fragment)
            assert not anchor or anchor in anchors[target], f"{page}: {attributes['href']} has no such heading"


def test_every_public_name_has_its_docstring_on_the_page_of_the_reference(site):
    page = (site / "api.html").read_text()
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())
    for name in set(fastwave.__all__) - {"__version__"}:
        assert f'id="fastwave.{name}"' in page, name
        first = " ".join(getattr(fastwave, name).__doc__.split("\n\n")[0].split())
        assert first.replace("`", "") in text, name


def test_the_readme_and_the_first_page_name_one_command():
    command = 'pip install -c constraints.txt -e ".[docs]" && mkdocs serve'

    for page in (CHECKOUT / "README.md", DOCS / "README.md", CHECKOUT / "mkdocs.yml"):
        assert command in page.read_text()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser, closed at the end."""
    with contextlib.closing(Browser(tmp_path_factory.mktemp("browser"))) as browser:
        yield browser


@pytest.mark.parametrize(
    ("width", "scheme"), [pytest.param(*look, marks=NEEDS_BROWSER) for look in ((1200, "light"), (375, "dark"))]
)
def test_a_browser_asks_nobody_else_and_finds_every_page_as_wide_as_itself(site, browser, width, scheme):
    for page in sorted(site.glob("learn/*.html")):
        browser.open(page.as_uri(), width, scheme)
        asked = [event["params"]["request"]["url"] for event in browser.events if "request" in event.get("params", {})]

        assert asked and not [url for url in asked if not url.startswith((site.as_uri(), "data:", "blob:"))], page
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, page
        assert not complaints(browser.events), page


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_a_notebook_has_the_blocks_of_its_page_and_links_that_lead_somewhere(scripts, page, tmp_path):
    made = json.loads(json.dumps(scripts["notebooks"].notebook(page.read_text(), tmp_path)))
    code = [cell["source"].removesuffix(";") for cell in made["cells"] if cell["cell_type"] == "code"]
    prose = "\n".join(cell["source"] for cell in made["cells"] if cell["cell_type"] == "markdown")

    assert code == [block.strip() for block in scripts["cells"].blocks(page.read_text())]
    assert prose.startswith("# ")
    for link in re.findall(r"\]\((?![a-z]+:|#)([^)#]+)", prose):
        assert (tmp_path / link).exists(), link


def test_a_block_that_fails_is_named_by_page_and_line(scripts):
    text = "# Page\n\n```python\na = 1\n```\n\n```python\nb = 2\nassert a == b, 'they differ'\n```\n"

    with pytest.raises(scripts["cells"].BlockFailed, match=r"learn/page\.md, line 9: AssertionError: they differ"):
        scripts["cells"].run(text, "learn/page.md")


def test_a_block_shows_what_it_prints_and_the_value_of_a_name(scripts):
    text = (
        "```python\nprint('1 < 2')\n```\n```python\nimport matplotlib.pyplot as plt\n_, axes = plt.subplots()\n"
        "axes.set(title='A & B')\naxes.plot([1, 2])\n```\n```python\nimport torch\nimport fastwave\nsound = "
        "fastwave.Result(torch.full((1, 100), 128), (100,), fastwave.codec.MuLaw(256), 16_000)\nsound\n```\n"
    )

    printed, drawn, heard = scripts["cells"].run(text, "learn/page.md")

    assert printed == '<pre class="printed">1 &lt; 2\n</pre>'
    assert drawn.startswith('<figure class="drawn"><svg role="img" aria-label="A &amp; B"')
    assert "currentColor" in drawn and scripts["cells"].INK not in drawn
    assert '<audio controls aria-label="Sound"' in heard


def test_a_picture_without_a_title_is_refused(scripts):
    text = "```python\nimport matplotlib.pyplot as plt\n_, axes = plt.subplots()\n```\n"

    with pytest.raises(scripts["cells"].BlockFailed, match="needs a title"):
        scripts["cells"].run(text, "learn/page.md")
