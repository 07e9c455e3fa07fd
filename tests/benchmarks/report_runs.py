"""Two small runs and their page: digits, and one whose every text tries to be markup."""

import json
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.config.runs import parse
from benchmarks.methods import METHODS
from benchmarks.report.build import write_report
from benchmarks.runner.run import execute
from tests.benchmarks.fakes import FAKES

METRICS = ["GAE", {"name": "ROAD_MoRF", "options": {"percentages": [30, 60]}}]
EVIL = "</script><img src=x onerror='window.broken=1'>"
FILE = "<img src=x onerror=alert(1)> & 'so'"


@dataclass(frozen=True)
class Runs:
    """Folders of results, and the page of both."""

    digits: Path
    evil: Path
    page: Path

    @property
    def html(self):
        return self.page.read_text(encoding="utf-8")


def make(folder):
    """Compute both runs, and write the page."""
    added = FAKES.keys() - METHODS.keys()
    METHODS.update(FAKES)
    try:
        runs = Runs(_digits(folder), _evil(folder), folder / "report.html")
        write_report([runs.digits, runs.evil], runs.page, samples=4)
    finally:
        for name in added:
            del METHODS[name]
    return runs


def _digits(folder):
    run = parse(
        {
            "models": [{"name": "digits:vgg", "paper": [1]}, {"name": "digits:vit", "paper": [5]}],
            "methods": ["Saliency", "absLRP", "Constant", "Rollout"],
            "metrics": METRICS,
            "steps": 4,
            "samples": 6,
            "output": str(folder / "digits"),
        }
    )
    execute(run, quiet=True)
    return folder / "digits"


def _evil(folder):
    images = folder / "images"
    rng = np.random.default_rng(0)
    for i in range(4):
        path = images / f"class{i % 2}" / f"{FILE} {i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (60, 60, 3), dtype=np.uint8)).save(path)
    methods = [{"name": "Quick", "label": EVIL}, {"name": "Fails", "label": f"2 {EVIL}"}]
    run = parse(
        {
            "models": "digits:vgg",
            "data": f"imagefolder:{images}",
            "targets": "labels",  # all are predicted to be of one class, which leaves no mosaics
            "methods": [*methods, "Constant"],
            "metrics": "C",
            "modules": "tests.benchmarks.fakes",
            "output": str(folder / "evil"),
        }
    )
    execute(run, quiet=True)
    return folder / "evil"


class Page(HTMLParser):
    """What is in a page: elements with their attributes, tables, and data for scripts."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.tables = []
        self.data = {}
        self.texts = []
        self.raw = {"style": [], "script": []}
        self._open = []
        self._cell = None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.elements.append((tag, found))
        self._open.append((tag, found))
        if tag == "table":
            self.tables.append({"class": found.get("class", ""), "caption": "", "rows": []})
        elif tag == "tr" and self.tables:
            self.tables[-1]["rows"].append([])
        elif tag in ("td", "th"):
            self._cell = {"text": "", "part": self._part(), **found}
            self.tables[-1]["rows"][-1].append(self._cell)
        if tag in ("img", "meta", "link", "input", "br"):
            self._open.pop()

    def _part(self):
        return next(tag for tag, _ in reversed(self._open) if tag in ("thead", "tbody", "tfoot"))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag, f"</{tag}> closes nothing"
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, text):
        tag, attributes = self._open[-1] if self._open else ("", {})
        if tag in self.raw:
            if attributes.get("type") == "application/json":
                self.data[attributes["id"]] = json.loads(text)
            else:
                self.raw[tag].append(text)
            return
        self.texts.append(text)
        if self._cell is not None:
            self._cell["text"] += text
        elif "caption" in [one for one, _ in self._open]:
            self.tables[-1]["caption"] += text
