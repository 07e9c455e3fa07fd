"""The page in a browser: tables sort, samples open, and nothing is asked of a network."""

import json
import shutil

import pytest

from tests.benchmarks.report_runs import EVIL

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip("there is no Chromium with its driver on this machine", allow_module_level=True)
webdriver = pytest.importorskip("selenium.webdriver")

FLAGS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic"),
    *("no-first-run", "disable-background-networking", "disable-component-update"),
    *("disable-sync", "force-prefers-reduced-motion"),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.add_argument("--window-size=1280,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, report_runs):
    browser.get(report_runs.page.as_uri())
    yield browser
    messages = browser.get_log("browser")
    assert not messages
    events = [json.loads(one["message"])["message"] for one in browser.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    # Chromium's own pages are its own affair.
    own = [url for url in asked if not url.startswith(("data:", "chrome:", "chrome-untrusted:"))]
    assert own == [report_runs.page.as_uri()]
    assert not browser.execute_script("return window.broken")


def click(page, selector, index=0):
    """Click on an element with a mouse, so that it must be where a mouse reaches it."""
    chosen = page.find_elements("css selector", selector)[index]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", chosen)
    chosen.click()
    return chosen


def choose(page, name, words):
    """Choose an option of a control of the first run."""
    options = page.find_elements("css selector", f"#run-0 select[name={name}] option")
    (option,) = [one for one in options if one.get_attribute("textContent") == words]
    option.click()


def column(page, table, index):
    """Return the words of a column of a table's body."""
    return page.execute_script(
        "return [...document.querySelectorAll(arguments[0])[arguments[1]].tBodies[0].rows]"
        ".map((row) => row.cells[arguments[2]].textContent)",
        "table.scores",
        table,
        index,
    )


def numbers(page, table, index):
    return [float(words.split(" ")[0].strip("*\u2007")) for words in column(page, table, index)]


def heads(page, table):
    return page.find_elements("css selector", "table.scores")[table].find_elements(
        "css selector", "th[data-sort]"
    )


def data(page, place):
    text = "return document.getElementById(arguments[0]).textContent"
    return json.loads(page.execute_script(text, f"run-0-data-{place}"))


def test_a_table_sorts(page):
    before = column(page, 0, 0)
    assert before == ["Saliency", "absLRP", "Constant"]
    head = heads(page, 0)[5]  # method, then ours and the paper's of LC, C and GAE
    assert head.get_attribute("aria-label") == "GAE, ours"
    button = head.find_element("css selector", "button")
    button.click()
    values = numbers(page, 0, 5)
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 1
    assert head.get_attribute("aria-sort") == "descending"
    best = column(page, 0, 0)
    button.send_keys(webdriver.Keys.ENTER)
    assert column(page, 0, 0) == best[::-1]
    assert head.get_attribute("aria-sort") == "ascending"
    first = heads(page, 0)[0]
    first.find_element("css selector", "button").send_keys(webdriver.Keys.SPACE)
    assert column(page, 0, 0) == ["absLRP", "Constant", "Saliency"]
    assert head.get_attribute("aria-sort") is None
    # What the paper has no number for stands last, whichever way.
    assert page.find_element("css selector", "tfoot th").text == "Kendall's τ"


def test_lower_is_better(page):
    """The first click puts the best first, whichever way a score is read."""
    (place,) = [i for i, head in enumerate(heads(page, 1)) if "ROAD_MoRF" in head.text]
    heads(page, 1)[place].find_element("css selector", "button").click()
    values = numbers(page, 1, place)
    assert values == sorted(values)


def test_a_sample_opens(page):
    found = data(page, 0)
    button = click(page, "#run-0 .film button", 2)
    assert button.get_attribute("aria-pressed") == "true"
    assert page.find_element("css selector", "#run-0 .step span").text == "3 of 4"
    shown(page, found, 2)
    one = found["samples"][2]
    facts = page.find_element("css selector", "#run-0 dl").text
    for words in (one["file"], str(one["label"]), f"{one['probability']:.3f}"):
        assert words in facts
    click(page, "#run-0 .next")
    shown(page, found, 3)
    assert not page.find_element("css selector", "#run-0 .next").is_enabled()
    click(page, "#run-0 .previous")
    shown(page, found, 2)


def shown(page, found, i):
    """Assert that a sample is what the page shows: image, maps and scores."""
    pictures = page.execute_async_script(
        """const [done] = arguments;
        const pictures = [...document.querySelectorAll("#run-0 .sample img")];
        pictures[0].scrollIntoView({block: "center"});
        Promise.all(pictures.map((one) => one.decode())).then(() => done(pictures.map(
          (one) => [one.naturalWidth, one.offsetWidth, one.src.split(",")[1], one.alt])));"""
    )
    assert len(pictures) == 1 + len(found["methods"])
    for natural, width, _, words in pictures:
        assert natural == 48
        assert width > 60
        assert words
    content = [found["images"][i], *(of_method[i] for of_method in found["maps"])]
    assert [source for _, _, source, _ in pictures] == content
    rows = page.execute_script(
        """return [...document.querySelectorAll("#run-0 .sample tbody tr")].map(
        (row) => [...row.cells].map((cell) => cell.textContent));"""
    )
    metrics = [k for k, one in enumerate(found["metrics"]) if not one["part"]]
    assert [row[0] for row in rows] == found["methods"]
    for m, row in enumerate(rows):
        values = [found["scores"][k][m][i] for k in metrics]
        written = [float(words.replace("−", "-")) for words in row[1:]]
        assert written == pytest.approx(values, abs=5.1e-4)


def test_samples_by_score(page):
    choose(page, "metric", "GAE ↑")
    choose(page, "order", "absLRP")
    found = data(page, 0)
    scores = found["scores"][0][found["methods"].index("absLRP")]
    best = sorted(range(4), key=lambda i: -scores[i])
    assert film(page) == [found["samples"][i]["sample"] for i in best]
    shown(page, found, best[0])
    click(page, "#run-0 .order")
    assert film(page)[0] == found["samples"][best[-1]]["sample"]
    shown(page, found, best[-1])
    # By keyboard: to the last one, and one back.
    for key in (webdriver.Keys.END, webdriver.Keys.ARROW_LEFT):
        page.find_element("css selector", "#run-0 .film [tabindex='0']").send_keys(key)
    shown(page, found, best[1])


def film(page):
    buttons = page.find_elements("css selector", "#run-0 .film button")
    return [int(button.get_attribute("data-sample")) for button in buttons]


def test_predictions_and_models(page):
    click(page, "#run-0 .film button", 1)
    choose(page, "model", "digits:vit")
    found = data(page, 1)
    assert "Rollout" in found["methods"]
    shown(page, found, 1)  # the same sample as another model sees it
    wrong = [one["sample"] for one in found["samples"] if one["label"] != one["predicted"]]
    choose(page, "show", "predicted otherwise")
    assert film(page) == wrong
    choose(page, "show", "predicted as labelled")
    assert len(film(page)) == 4 - len(wrong)


def test_scores_of_a_sample_sort_and_stay_sorted(page):
    table = page.find_element("css selector", "#run-0 .sample table")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", table)
    table.find_elements("css selector", "th button")[0].click()
    for _ in range(2):
        rows = table.find_elements("css selector", "tbody th")
        assert [row.text for row in rows] == ["absLRP", "Constant", "Saliency"]
        click(page, "#run-0 .next")
    (box,) = [
        label
        for label in page.find_elements("css selector", "#run-0 .looks label")
        if label.text == "also ROAD at each percentage"
    ]
    box.click()
    assert "ROAD_MoRF@30" in page.find_element("css selector", "#run-0 .sample thead").text


def test_a_hostile_run_is_text(page):
    assert page.find_element("css selector", "#run-1 .sample tbody th").text == EVIL
    assert page.find_element("css selector", "#run-1 dd:nth-of-type(2)").text.count("<img src=x")
    images = page.find_elements("css selector", "#run-1 img")
    assert all(one.get_attribute("src").startswith("data:") for one in images)


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_is_wider_than_the_screen(page, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        wide = page.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
