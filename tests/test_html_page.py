"""The format html in headless Chromium, opened from disk.

The training text of the model contains markup, which must stay text everywhere.
"""

import base64
import json
import re
import urllib.parse

import pytest

pytest.importorskip("selenium")

from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from shakespeare_gen.exporting.html_file import content, page
from shakespeare_gen.exporting.html_file.content import Content
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.generation import Generator
from shakespeare_gen.runs import loading
from tests import browser, fake_runs
from tests.browser import Page

pytestmark = pytest.mark.slow

HOSTILE = "</script><img src=x onerror=\"document.title='hit'\">&amp;\n"
TEXT = f"O, she doth teach the torches to burn bright!\n\nJULIET:\nAy me!\n{HOSTILE}"
# As the settings of the page are at first.
DEFAULTS = {"temperature": 0.8, "top_p": 0.95}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    run = fake_runs.write_run(folder / "run <b>", text=TEXT, units=24, embedding_size=8)
    subject = Subject.of(loading.read_checkpoints([str(run.path)]))
    path = folder / "page.html"
    path.write_text(page.render(Content.of(subject)), "utf-8")
    return path


@pytest.fixture(scope="module")
def generator(path):
    return Generator(content.model_of(*page.read(path)), fake_runs.make_spec(TEXT).tokenizer)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser.chromium(tmp_path_factory.mktemp("chromium")) as driver:
        # Nothing but the disk can be reached.
        conditions = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)
        yield driver


@pytest.fixture
def opened(driver, path):
    """The page with an empty storage; it must log nothing and ask for nothing."""
    driver.get(path.as_uri())
    driver.execute_script("localStorage.clear()")
    for log in ("browser", "performance"):
        driver.get_log(log)
    found = Page(driver, path.as_uri()).open()
    found.set_length(40)
    found.set_seed(0)
    yield found
    assert [e for e in driver.get_log("browser") if e["level"] != "INFO"] == []
    assert {url.partition(":")[0] for url in requested(driver)} <= {"file", "blob", "data", "about"}
    assert driver.title != "hit"


def requested(driver):
    """The addresses that were requested since the log was read last."""
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            yield message["params"]["request"]["url"]


def expected(generator, prompt, seed, length=40, **options):
    given = {**DEFAULTS, **options, "seed": seed, "length": length}
    return generator.generate(prompt, **given)[0].text


@pytest.mark.parametrize("seed", [0, 5])
def test_the_page_writes_the_text_of_the_package(opened, generator, seed):
    opened.set_seed(seed)
    opened.type("she")
    opened.generate()
    assert opened.text == "she" + expected(generator, "she", seed)


def test_a_retry_is_a_branch_with_the_next_seed(opened, generator):
    opened.type("JULIET:")
    opened.generate()
    opened.type(Keys.CONTROL, "r")
    opened.wait(lambda: opened.shown("branch-position") == "2/2")
    opened.wait_until_done()
    assert opened.text == "JULIET:" + expected(generator, "JULIET:", 1)
    opened.click("branch-back")
    assert opened.text == "JULIET:" + expected(generator, "JULIET:", 0)


def test_a_long_text_can_be_stopped(opened):
    opened.set_length(2000)
    opened.type("she", Keys.CONTROL, Keys.ENTER)
    opened.wait(lambda: len(opened.text) > 3)
    opened.type(Keys.ESCAPE)
    opened.wait_until_done()
    stopped = opened.text
    with pytest.raises(TimeoutException):
        opened.wait(lambda: opened.text != stopped, seconds=0.5)


def test_a_suggestion_is_the_most_likely_text(opened, generator):
    opened.type("O, she")
    opened.wait(lambda: opened.ghost)
    likely = expected(generator, "O, she", 0, 60, temperature=0.0, top_p=1.0, until_line=True)
    assert likely.startswith(opened.ghost)
    ghost = opened.ghost
    opened.type(Keys.TAB)
    assert opened.text == f"O, she{ghost}"


def test_surprise_and_alternatives(opened, generator):
    text = "O, she doth"
    opened.type(text)
    opened.click("surprise")
    opened.wait(lambda: "bits per" in opened.shown("legend-text"))
    bits = -generator.score(text).sum() / len(text) / 0.6931472
    assert f"{bits:.2f} bits per character" in opened.shown("legend-text")
    opened.type(Keys.CONTROL, Keys.SPACE)
    opened.wait(lambda: opened.element("alternatives").is_displayed())
    rows = opened.driver.find_elements(By.CSS_SELECTOR, "#alternatives-list .character")
    likely = [label for label, _ in generator.next_tokens(text, 8) if label not in " \n"]
    assert [row.text for row in rows] == likely


def test_a_draft_survives_and_a_link_opens_as_another(opened):
    opened.type("my own words")
    opened.wait(lambda: opened.run("return localStorage['shakespeare_gen.drafts']"))
    opened.open()
    assert opened.text == "my own words"
    fields = {"prompt": "she <i>doth", "temperature": 1.5}
    opened.open(f"#{urllib.parse.urlencode(fields)}")
    assert opened.text == "she <i>doth"
    assert opened.element("setting-temperature").get_property("value") == "1.5"
    opened.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    opened.driver.find_element(By.CSS_SELECTOR, "[popovertarget=share]").click()
    opened.click("copy-link")
    link = opened.wait(lambda: opened.run("return window.copied"))
    assert link.startswith(f"{opened.url}#")


def test_the_page_says_what_it_is(opened):
    opened.click("model-button")
    text = opened.element("panel-model").text
    assert "run <b>" in text
    assert "abab.txt" in text
    assert "Choose one" not in text  # there is one
    assert "It works without a network and sends nothing." in text
    assert "MIT license" in text


def test_markup_of_the_corpus_stays_text(opened, generator):
    opened.set_length(300)
    opened.type("<img")
    opened.generate()
    assert opened.text == "<img" + expected(generator, "<img", 0, 300)
    assert opened.run("return document.images.length") == 0


def test_nothing_is_cut_off_on_a_phone(opened):
    with opened.on_a_phone():
        opened.open()
        opened.type("she")
        opened.generate()
        assert opened.num_pixels_beyond <= 0
        opened.click("panel-button")
        opened.click("tab-model")
        assert opened.cut_off == []
        assert opened.num_pixels_beyond <= 0


def test_the_policy_of_the_page_forbids_requests_and_other_scripts(driver, path):
    opened = Page(driver, path.as_uri()).open()
    blocked = opened.driver.execute_async_script(
        """
        const done = arguments[0];
        const blocked = [];
        document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => {
          blocked.push(effectiveDirective);
          if (blocked.length === 3) done(blocked.sort());
        });
        fetch("https://example.com/").catch(() => {});
        new Image().src = "https://example.com/x.png";
        const script = document.createElement("script");
        script.textContent = "document.title = 'hit'";
        document.head.append(script);
        """
    )
    assert blocked == ["connect-src", "img-src", "script-src-elem"]
    assert driver.title != "hit"


def test_a_browser_without_webassembly_writes_the_same_text(driver, path, generator, tmp_path):
    text = path.read_text("utf-8")
    nothing = base64.b64encode(b"nothing").decode()
    plain = tmp_path / "plain.html"
    plain.write_text(re.sub(r'(id="kernel">)[^<]*', rf"\g<1>{nothing}", text), "utf-8")
    opened = Page(driver, plain.as_uri()).open()
    opened.set_length(40)
    opened.set_seed(3)
    before = opened.text
    opened.type("she")
    opened.generate()
    assert opened.text == f"{before}she" + expected(generator, f"{before}she", 3)
