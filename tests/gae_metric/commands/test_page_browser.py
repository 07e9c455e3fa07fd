"""The page of an evaluation in a browser: columns sort, the best first, and back."""

import shutil

import numpy as np
import pytest
from torch import nn

from gae_metric._names import DIRECTIONS
from gae_metric.commands.tables import Evaluation, Inputs, write_report
from gae_metric.comparison.results import Results

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip("there is no Chromium with its driver on this machine", allow_module_level=True)
webdriver = pytest.importorskip("selenium.webdriver")


@pytest.fixture
def page(tmp_path):
    results = Results(
        methods=("A", "B", "C"),
        metrics={name: DIRECTIONS[name] for name in ("GAE", "ROAD")},
        targets=np.array([1, 0, 1]),
    )
    means = {"GAE": {"A": 0.1, "B": 0.3, "C": 0.2}, "ROAD": {"A": 0.9, "B": 0.7, "C": 0.8}}
    for metric, rows in means.items():
        for method, mean in rows.items():
            results.scores[method, metric] = mean + np.array([-0.01, 0.0, 0.01])
    results.scores["C", "ROAD"] = np.full(3, np.nan)
    samples = ["<script>window.broken = 1</script>", "b.png", "a.png"]
    x = np.zeros((3, 3, 4, 4), dtype=np.float32)
    inputs = Inputs(nn.Identity(), x, samples, results.targets, lambda x: x, ["cat", "dog"])
    file = tmp_path / "report.html"
    write_report(file, [Evaluation("net", inputs, results)], {})
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.get(file.as_uri())
    yield driver
    assert not driver.get_log("browser")
    assert not driver.execute_script("return window.broken")
    driver.quit()


def first_column(page, table):
    script = "return [...document.querySelectorAll('table')[arguments[0]].tBodies[0].rows]"
    return page.execute_script(f"{script}.map((row) => row.cells[0].textContent)", table)


def click(page, text, index=0):
    found = [one for one in page.find_elements("css selector", "button") if one.text == text]
    found[index].click()


def test_tables_sort(page):
    assert first_column(page, 0) == ["B", "C", "A"]
    click(page, "ROAD ↓")
    assert first_column(page, 0) == ["B", "A", "C"]  # lower is better, and no score is last
    click(page, "ROAD ↓")
    assert first_column(page, 0) == ["A", "B", "C"]
    click(page, "GAE ↑")
    assert first_column(page, 0) == ["B", "C", "A"]
    click(page, "method")
    assert first_column(page, 0) == ["A", "B", "C"]
    click(page, "image")
    assert first_column(page, 1)[1:] == ["a.png", "b.png"]
    click(page, "explained class")
    assert first_column(page, 1)[0] == "b.png"  # the one cat
    click(page, "A")
    assert first_column(page, 1) == ["a.png", "b.png", "<script>window.broken = 1</script>"]
