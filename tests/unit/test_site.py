"""The documentation as a site: built without a warning, complete, from nowhere else, and good to look at.

The pictures are kept in the directory that ENVKIT_SCREENSHOTS names, else with the test's other files.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envkit.cli.reference import pages
from tests.support.browser import Browser
from tests.support.pages import DOCS

pytestmark = pytest.mark.slow(40)
WIDTHS = {"80": 640, "160": 1280}
"""Columns of text -> the window's width in pixels."""

LOOKED_AT = ("index", "tutorial", "reference/commands", "reference/yaml", "explanation/how-it-works")

_TOO_WIDE = """[...document.querySelectorAll('article *')].filter(item => {
    const box = item.getBoundingClientRect();
    if (box.right <= innerWidth + 1 || !box.width) return false;
    for (let up = item; up; up = up.parentElement)
        if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(up).overflowX)) return false;
    return true;
}).map(item => item.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    argv = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(place / "doctrees")]
    done = subprocess.run(
        [*argv, str(DOCS), str(place / "html")], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return place / "html"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(str(tmp_path / "chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Path(os.environ.get("ENVKIT_SCREENSHOTS") or tmp_path_factory.mktemp("pictures"))
    place.mkdir(parents=True, exist_ok=True)
    return place


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_reference_is_what_the_program_declares(name: str) -> None:
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == pages()[name].rstrip("\n") + "\n", "python -m envkit.cli.reference docs/reference"


def test_every_variable_is_documented() -> None:
    """What the code asks the environment for has its row."""
    asked = re.compile(r"""environ(?:\.get\(|\[)["']([A-Z][A-Z_]+)["']""")
    sources = [path.read_text(encoding="utf-8") for path in (DOCS.parent / "envkit").rglob("*.py")]
    page = (DOCS / "reference" / "variables.md").read_text(encoding="utf-8")
    missing = {name for text in sources for name in asked.findall(text)} - set(re.findall(r"`([A-Z_]+)`", page))
    assert not missing


def test_every_page_is_in_the_navigation(site: Path) -> None:
    entries = re.findall(r"^(?:.*<)?([\w/-]+)>?$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    every = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")} - {"index"}
    assert every <= set(entries)
    assert all((site / f"{page}.html").is_file() for page in every)


@pytest.mark.browser
def test_it_looks_good(site: Path, browser: Browser, pictures: Path) -> None:
    """Light and dark, narrow and wide: nothing is cut off, nothing is blank, nothing comes from elsewhere."""
    for page in LOOKED_AT:
        browser.open(f"file://{site}/{page}.html")
        for columns, width in WIDTHS.items():
            for theme in ("light", "dark"):
                where = f"{page} at {columns} columns, {theme}"
                browser.look(width=width, height=1000, dark=theme == "dark")
                assert browser.evaluate("document.documentElement.scrollWidth") <= width, where
                assert browser.evaluate(_TOO_WIDE) == [], where
                assert browser.evaluate("[...document.images].every(item => item.naturalWidth > 0)"), where
                channels = re.findall(r"\d+", browser.evaluate("getComputedStyle(document.body).backgroundColor"))
                assert (sum(map(int, channels[:3])) < 3 * 128) == (theme == "dark"), where
                picture = browser.photograph()
                (pictures / f"{page.replace('/', '-')}-{columns}-{theme}.png").write_bytes(picture)
                assert len(picture) > 20_000, f"{where}: hardly anything is to be seen"
    assert {address.partition(":")[0] for address in browser.requested} <= {"file", "data"}
