"""The writing page in headless Chromium, against an API whose model knows the alphabet.

`axe-core` is looked for in the folder that AXE_CORE_DIR names: `npm install axe-core` there.
"""

import contextlib
import json
import os
import pathlib
import re
import urllib.parse
import urllib.request

import pytest

from tests.conftest import REPOSITORY

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("selenium")

from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests import browser, fake_api, running_server
from tests.browser import Page
from tests.fake_api import LETTERS

pytestmark = pytest.mark.slow

PAGE = REPOSITORY / "shakespeare_gen" / "serving" / "page"
MAX_FIRST_PAINT_BYTES = 100_000


@pytest.fixture(scope="module")
def url():
    with fake_api.running() as address:
        yield address


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser.chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def page(driver, url):
    """The page with an empty storage, in a wide window; it must log nothing."""
    driver.set_window_size(1280, 860)
    driver.get("about:blank")
    stored = {"origin": url.rstrip("/"), "storageTypes": "local_storage"}
    driver.execute_cdp_cmd("Storage.clearDataForOrigin", stored)
    driver.get_log("browser")
    page = Page(driver, url).open()
    page.set_length(20)
    page.set_seed(0)
    yield page
    severe = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [message for message in severe if not re.search(r"\b(400|401|429)\b", message)]


def test_text_streams_in_at_the_cursor(page):
    page.type("start: abc\nend", Keys.UP, Keys.END)
    page.generate()
    assert page.text == "start: abcdefghijklmnopqrstuvw\nend"
    page.type("!")
    assert page.text == "start: abcdefghijklmnopqrstuvw!\nend"


def test_text_appears_while_it_is_generated(page):
    page.set_length(100)
    page.type("slow", Keys.CONTROL, Keys.ENTER)
    page.wait(lambda: len(page.text) > 10)
    assert len(page.text) < 100
    assert page.shown("continue") == "Stop"


@pytest.mark.parametrize("how", ["button", "escape", "typing"])
def test_stop_keeps_what_was_written(page, how):
    page.set_length(400)
    page.type("slow", Keys.CONTROL, Keys.ENTER)
    page.wait(lambda: len(page.text) > 10)
    if how == "button":
        page.click("continue")
    else:
        page.type(Keys.ESCAPE if how == "escape" else "?")
    page.wait_until_done()
    stopped = page.text
    assert re.fullmatch(r"slowxyz [a-z ]+\??", stopped)
    with pytest.raises(Exception, match="Message"):
        page.wait(lambda: page.text != stopped, seconds=0.5)


def test_a_suggestion_is_accepted_whole_or_by_word(page):
    page.type("xy")
    page.wait_for_ghost(f"z {LETTERS} {LETTERS}")  # no cut off word
    assert page.text == "xy"
    page.type(Keys.CONTROL, Keys.ARROW_RIGHT)
    assert (page.text, page.ghost[:4]) == ("xyz", " abc")
    page.type(Keys.TAB)
    assert page.text == f"xyz {LETTERS} {LETTERS}"
    assert page.focused == "text"


def test_typing_shortens_a_suggestion_and_escape_declines_it(page):
    page.type("ab")
    page.wait_for_ghost(f"{LETTERS[2:]} {LETTERS}")
    page.type("c")
    assert page.ghost == f"{LETTERS[3:]} {LETTERS}"
    page.type(Keys.ESCAPE)
    assert (page.text, page.ghost) == ("abc", "")
    page.type(Keys.TAB)
    assert page.focused != "text"


def test_undo_and_redo_know_edits_from_generations(page):
    page.type("abc")
    page.generate()
    written = page.text
    page.type("own")
    page.type(Keys.CONTROL, "z")
    assert page.text == written
    page.type(Keys.CONTROL, "z")
    assert page.text == "abc"
    page.type(Keys.CONTROL, "z")
    assert page.text == ""
    page.type(Keys.CONTROL, "y", Keys.NULL, Keys.CONTROL, "y")
    assert page.text == written
    page.type(Keys.CONTROL, "y")
    assert page.text == f"{written}own"
    assert page.num_highlighted("model") == 20


def test_a_retry_is_a_branch(page):
    page.type("abc")
    page.generate()
    first = page.text
    page.type(Keys.CONTROL, "r")
    page.wait_for_text("abc[A-Z]{20}")
    page.wait_until_done()
    second = page.text
    assert page.shown("branch-position") == "2/2"
    page.type(Keys.ALT, Keys.PAGE_UP)
    assert page.text == first
    page.click("branch-forward")
    assert page.text == second
    page.click("panel-button")
    page.click("tab-branches")
    items = page.driver.find_elements(By.CSS_SELECTOR, "#branches button")
    assert [item.text for item in items] == [first[3:], second[3:]]
    items[0].click()
    assert page.text == first


def test_a_branch_keeps_what_was_written_after_it(page):
    page.type("abc")
    page.generate()
    page.type(" and more")
    longer = page.text
    page.click("retry")
    page.wait_for_text("abc[A-Z]{20}")
    page.wait_until_done()
    page.click("branch-back")
    assert page.text == longer


def test_every_version_can_be_visited_again(page):
    """Random edits, generations, undo and redo, and then every version in random order."""
    code = """
    const done = arguments[0];
    import("./versions.js").then(({ Versions }) => {
      let seed = 7;
      const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
      const states = new Map();
      let versions = new Versions();
      const remember = () =>
        states.set(versions.current.id, JSON.stringify([versions.text, versions.spans]));
      remember();
      for (let step = 0; step < 600; step++) {
        const at = random(versions.text.length + 1);
        const length = random(versions.text.length - at + 1) >> 2;
        const piece = "xyz".repeat(random(3));
        const act = random(8);
        if (act < 3) versions.edit(at, length, piece, step * (act === 0 ? 1 : 5000));
        else if (act === 3) versions.suggest(at, "s");
        else if (act === 4) {
          versions.begin(at, length, "g");
          versions.append("ab");
          versions.append("c");
        }
        else if (act === 5) versions.undo();
        else if (act === 6) versions.redo();
        else versions = new Versions(JSON.parse(JSON.stringify(versions)));
        if (act < 5) remember();
      }
      const saved = JSON.parse(JSON.stringify(versions)).versions;
      let wrong = 0;
      for (let step = 0; step < 300; step++) {
        const target = saved[random(saved.length)];
        versions.visit(versions.siblings(target).find(({ id }) => id === target.id));
        while (versions.current.id !== target.id) versions.undo();
        const state = JSON.stringify([versions.text, versions.spans]);
        if (state !== states.get(target.id)) wrong += 1;
      }
      done([saved.length, wrong]);
    }).catch((error) => done(String(error)));
    """
    num_versions, num_wrong = page.driver.execute_async_script(code)
    assert num_versions > 200
    assert num_wrong == 0


def test_a_draft_with_its_branches_survives_a_reload(page):
    page.type("abc")
    page.generate()
    page.type(Keys.CONTROL, "r")
    page.wait_for_text("abc[A-Z]{20}")
    page.wait_until_done()
    page.type(" mine")
    text = page.text
    page.open()
    assert page.text == text
    assert page.num_highlighted("model") == 20
    page.click("branch-back")
    assert page.text == "abcdefghijklmnopqrstuvw"


def test_drafts_are_kept_apart_and_deleted_after_a_question(page):
    page.type("first draft")
    page.click("panel-button")
    page.click("tab-drafts")
    page.click("new-draft")
    assert (page.text, page.focused) == ("", "text")
    page.type("second draft")
    drafts = "#drafts li > button:first-child span"

    def titles():
        items = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        return page.run(items, drafts)

    page.wait(lambda: titles() == ["second draft", "first draft"])
    page.driver.find_elements(By.CSS_SELECTOR, drafts)[1].click()
    assert page.text == "first draft"
    for answer, remaining in (("cancel", 2), ("confirm", 1)):
        page.driver.find_elements(By.CSS_SELECTOR, "#drafts .remove")[0].click()
        page.driver.find_element(By.CSS_SELECTOR, f"#confirm [value={answer}]").click()
        page.wait(lambda remaining=remaining: len(titles()) == remaining)


def test_a_draft_that_another_tab_changed_is_not_overwritten(page):
    page.type("mine")
    page.wait(lambda: page.run("return localStorage['shakespeare_gen.drafts']"))
    page.run(
        "const drafts = JSON.parse(localStorage['shakespeare_gen.drafts']);"
        "drafts[0].revision += 5;"
        "localStorage['shakespeare_gen.drafts'] = JSON.stringify(drafts);"
    )
    page.type(" too")
    count = "return JSON.parse(localStorage['shakespeare_gen.drafts']).length"
    page.wait(lambda: page.run(count) == 2)


def test_leaving_is_guarded_when_the_draft_cannot_be_kept(page):
    page.run("Storage.prototype.setItem = () => { throw new Error('full'); }")
    page.type("words")
    page.wait(lambda: "does not keep the draft" in page.shown("notice-text"))
    prevented = (
        "const leaving = new Event('beforeunload', { cancelable: true });"
        "dispatchEvent(leaving); return leaving.defaultPrevented"
    )
    assert page.run(prevented)
    page.open()
    page.type("words")
    assert not page.run(prevented)


def test_markup_stays_text(page):
    page.run(
        "document.getElementById('text').focus();"
        "document.execCommand('insertText', false, arguments[0])",
        fake_api.MARKUP,
    )
    assert page.text == fake_api.MARKUP
    page.type("\nmarkup", Keys.CONTROL, Keys.ENTER)
    page.wait(lambda: page.text.count(fake_api.MARKUP) == 2)
    page.type(Keys.CONTROL, "r")
    page.wait(lambda: page.shown("branch-position") == "2/2")
    page.wait_until_done()
    for name in ("branches", "drafts"):
        page.run("document.getElementById(arguments[0]).click()", f"tab-{name}")
    assert page.shown("mirror").count(fake_api.MARKUP) == 2
    assert page.run("return document.querySelectorAll('img').length") == 0
    assert page.driver.title != "1"


def test_surprise_colours_what_the_model_did_not_expect(page):
    page.type("abcxdef")
    page.click("surprise")
    page.wait(lambda: "bits" in page.shown("legend-text"))
    levels = [page.num_highlighted(f"surprise-{level}") for level in range(1, 7)]
    assert levels == [0, 1, 1, 0, 0, 0]  # d has 2 bits after x, which has 3
    assert "bits per character" in page.shown("legend-text")
    page.click("surprise")
    assert page.num_highlighted("surprise-3") == 0


def test_a_character_that_was_replaced_has_the_surprise_of_what_was_read(page):
    tokens = [{"text": text, "log_probability": -0.75} for text in "ab...cd"]
    page.run(
        "const answer = JSON.stringify({ tokens: arguments[0] });"
        "const original = window.fetch;"
        "window.fetch = async (path, init) =>"
        " path === '/v1/score' ? new Response(answer) : original(path, init);",
        tokens,
    )
    page.type("ab…cd")
    page.click("surprise")
    page.wait(lambda: "bits" in page.shown("legend-text"))
    levels = [page.num_highlighted(f"surprise-{level}") for level in range(1, 7)]
    assert levels == [4, 0, 1, 0, 0, 0]


def test_an_alternative_continues_from_its_place(page):
    page.type("abcxyz")
    page.click("surprise")
    page.wait(lambda: page.num_highlighted("surprise-3") == 1)
    x, y = page.run(
        "const range = document.createRange(); const text = mirror.firstChild;"
        "range.setStart(text, 3); range.setEnd(text, 4);"
        "const box = range.getBoundingClientRect();"
        "return [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)]"
    )
    pointer = ActionChains(page.driver)
    pointer.w3c_actions.pointer_action.move_to_location(x, y)
    pointer.perform()
    page.wait(lambda: page.element("alternatives").is_displayed())
    assert page.shown("alternatives-title") == "Here: x, 3.0 bits"
    rows = page.driver.find_elements(By.CSS_SELECTOR, "#alternatives-list button")
    assert [row.text.split()[0] for row in rows][:3] == ["d", "e", "f"]
    rows[1].click()
    page.wait_for_text("abcefghijklmnopqrstuvwxy")
    page.wait_until_done()
    page.type(Keys.CONTROL, "z")
    assert page.text == "abcxyz"


def test_a_speaker_begins(page):
    page.type("First words.")
    page.click("speaker")
    page.press("j")
    page.press("u")
    page.press(Keys.ENTER)
    assert page.text == "First words.\n\nJULIET:\n"
    assert page.focused == "text"


def test_settings_reach_the_request_and_the_link(page):
    page.record_requests()
    page.click("panel-button")
    page.driver.find_element(By.XPATH, "//button[text()='Wild']").click()
    page.run("document.querySelector('details').open = true")
    page.element("setting-stop").send_keys("\\n\\n")
    page.click("panel-close")
    page.type("abc")
    page.generate()
    request = json.loads(page.run("return sent.at(-1)"))
    assert request.items() >= {"temperature": 1.3, "min_p": 0.03, "stop": "\n\n", "seed": 0}.items()
    assert request.items() >= {"model": "alphabet", "prompt": "abc", "max_tokens": 20}.items()
    assert not {"top_k", "top_p", "mirostat_tau", "no_repeat_ngram", "until"} & set(request)
    page.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.driver.find_element(By.CSS_SELECTOR, "[popovertarget=share]").click()
    page.click("copy-link")
    link = page.wait(lambda: page.run("return window.copied"))
    assert link.startswith(f"{page.url}#")
    fields = dict(urllib.parse.parse_qsl(link.partition("#")[2]))
    assert fields == {
        "temperature": "1.3",
        "max_tokens": "20",
        "top_p": "1",
        "min_p": "0.03",
        "seed": "0",
        "stop": "\\n\\n",
        "model": "alphabet",
        "prompt": page.text,
    }


def test_mirostat_replaces_the_filters_that_the_api_refuses_beside_it(page):
    values = {"mirostat_tau": 3, "no_repeat_ngram": 8, "top_p": 0.5}
    page.open(f"#{urllib.parse.urlencode({**values, 'prompt': 'abc'})}")
    page.record_requests()
    page.generate()
    request = json.loads(page.run("return sent.at(-1)"))
    assert request.items() >= {"mirostat_tau": 3, "no_repeat_ngram": 8}.items()
    assert not {"top_k", "top_p", "min_p", "typical_p"} & set(request)


def test_a_link_opens_as_a_new_draft(page):
    page.type("my draft")
    fields = {"prompt": "shared <b>text</b>", "temperature": 1.5, "top_k": 1e9, "model": "plain"}
    page.open(f"#{urllib.parse.urlencode(fields)}")
    assert page.text == "shared <b>text</b>"
    page.wait(lambda: page.shown("model-name") == "plain")
    assert page.element("setting-temperature").get_property("value") == "1.5"
    assert page.element("setting-top_k").get_property("value") == "0"  # out of bounds
    assert page.driver.current_url == page.url
    page.click("panel-button")
    page.click("tab-drafts")
    assert "my draft" in page.element("drafts").text


def test_models_make_an_ensemble_and_show_their_cards(page):
    page.click("model-button")
    card = page.element("cards").text
    assert "1,220,000" in card
    assert "1.374 nats · 1.98 bits" in card
    assert page.driver.find_element(By.CSS_SELECTOR, "#cards svg polyline")
    page.click("model-1")
    assert page.shown("model-name") == "alphabet+plain"
    page.click("model-0")
    assert page.shown("model-name") == "plain"


def test_a_busy_server_is_reported(page):
    page.type("busy", Keys.CONTROL, Keys.ENTER)
    page.wait(lambda: page.shown("notice-text") == "The server is busy. Try again in 2 s.")
    page.wait_until_done()
    assert page.text == "busy"
    page.type(Keys.CONTROL, "z")
    assert page.text == ""


def test_characters_that_the_model_does_not_know_are_skipped(page):
    page.type("a@b")
    page.generate()
    assert page.text == "a@bcdefghijklmnopqrstuv"


def test_a_server_with_a_key_is_given_it(page, monkeypatch):
    monkeypatch.setattr(fake_api.app, "key", "secret")
    page.driver.get("about:blank")
    page.driver.get(page.url)
    for key in ("guess", "secret"):
        page.wait(lambda: page.element("key").is_displayed())
        page.element("key-input").send_keys(key, Keys.ENTER)
    page.wait(lambda: page.shown("model-name") == "alphabet")
    page.set_length(20)
    page.open().type("abc")
    page.generate()
    assert not page.element("key").is_displayed()


def test_a_retry_that_fails_leaves_the_text(page):
    page.type("abc")
    page.generate()
    text = page.text
    page.run("window.fetch = async () => { throw new TypeError('offline'); }")
    page.type(Keys.CONTROL, "r")
    page.wait(lambda: "does not answer" in page.shown("notice-text"))
    page.wait(lambda: page.text == text)


def test_a_suggestion_is_accepted_by_a_tap(page):
    page.type("xy")
    page.wait_for_ghost(f"z {LETTERS} {LETTERS}")
    x, y = page.run(
        "const box = document.querySelector('.ghost').getClientRects()[0];"
        "return [Math.round(box.x + 20), Math.round(box.y + box.height / 2)]"
    )
    pointer = ActionChains(page.driver)
    pointer.w3c_actions.pointer_action.move_to_location(x, y).click()
    pointer.perform()
    assert page.text == f"xyz {LETTERS} {LETTERS}"


def test_everything_is_reached_by_keyboard(page):
    page.type("abc", Keys.ESCAPE)
    reached = []
    for _ in range(30):
        page.press(Keys.TAB)
        reached.append(page.focused)
    assert set(reached) >= {"continue", "undo", "speaker", "surprise", "panel-button", "text"}
    page.run("document.getElementById('text').focus()")
    page.press(Keys.ALT, "p")
    assert page.focused == "tab-settings"
    for _ in range(3):
        page.press(Keys.ARROW_RIGHT)
    assert page.focused == "tab-drafts"
    page.press(Keys.ESCAPE)
    assert page.focused == "text"
    page.press(Keys.CONTROL, Keys.SPACE)
    page.wait(lambda: page.element("alternatives").is_displayed())
    page.press(Keys.ARROW_DOWN)
    page.press(Keys.ENTER)
    page.wait_for_text("abcefghijklmnopqrstuvwxy")


def test_the_theme_is_kept(page):
    page.click("theme")
    page.click("theme")
    page.open()
    background = "return getComputedStyle(document.body).backgroundColor"
    assert page.run(background) == "rgb(20, 21, 25)"


def test_nothing_is_cut_off_on_a_phone(page):
    with page.on_a_phone():
        page.open()
        page.type("abc")
        page.generate()
        page.type(Keys.CONTROL, "r")
        page.wait_for_text("abc[A-Z]{20}")
        page.wait_until_done()
        assert page.num_pixels_beyond <= 0
        assert page.cut_off == []
        page.click("panel-button")
        assert page.cut_off == []
        assert page.element("panel").rect["y"] > 100


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, theme):
    script = pathlib.Path(os.environ.get("AXE_CORE_DIR", ""), "node_modules/axe-core/axe.min.js")
    if not script.is_file():
        pytest.skip("axe-core is not here; AXE_CORE_DIR names the folder where npm installed it")
    feature = {"name": "prefers-color-scheme", "value": theme}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    page.type("abc")
    page.generate()
    page.type(Keys.CONTROL, "r")
    page.wait_for_text("abc[A-Z]{20}")
    page.run(script.read_text("utf-8"))
    page.click("surprise")
    page.click("panel-button")
    for tab in ("settings", "model", "branches", "drafts"):
        page.click(f"tab-{tab}")
        assert serious(page) == [], tab
    page.click("panel-close")
    page.click("keys-button")
    assert serious(page) == []


def serious(page):
    """The serious and critical findings of axe."""
    found = page.driver.execute_async_script("axe.run().then(arguments[0])")
    return [
        (each["id"], each["nodes"][0]["html"])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def test_the_first_paint_is_small(driver, tmp_path):
    """From the real server, which compresses: all that is transferred until a model is shown."""
    with running_server.running(running_server.write_run(tmp_path / "small").path) as server:
        Page(driver, f"{server.url}/").open()
        sizes = driver.execute_script(
            "return performance.getEntriesByType('navigation')"
            ".concat(performance.getEntriesByType('resource')).map((entry) => entry.transferSize)"
        )
    assert len(sizes) > len(list(PAGE.iterdir()))
    assert min(sizes) > 0
    assert sum(sizes) < MAX_FIRST_PAINT_BYTES


def test_everything_comes_from_one_server(page):
    names = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert all(name.startswith(page.url) for name in names)
    with contextlib.closing(urllib.request.urlopen(page.url)) as response:
        html = response.read().decode()
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)|https?://", html)
