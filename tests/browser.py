"""The writing page in headless Chromium, as a writer sees it."""

import contextlib
import re
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMEDRIVER = shutil.which("chromedriver")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,860",
)
WAIT_SECONDS = 30
PHONE = {"width": 360, "height": 640, "deviceScaleFactor": 2, "mobile": True}


@contextlib.contextmanager
def chromium(profile):
    """A driver of Chromium with a new profile; skips the test where it is not installed."""
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("expected chromium and chromedriver on PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.set_capability("unhandledPromptBehavior", "accept")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """The page as a writer sees it."""

    def __init__(self, driver, url):
        self.driver, self.url = driver, url

    def open(self, fragment=""):
        """Loads the page and waits for its model."""
        self.driver.get("about:blank")
        self.driver.get(self.url + fragment)
        self.wait(lambda: self.shown("model-name") not in ("", "…"))
        return self

    def run(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def wait(self, condition, seconds=WAIT_SECONDS):
        return WebDriverWait(self.driver, seconds, 0.05).until(lambda _: condition())

    def element(self, name):
        return self.driver.find_element(By.ID, name)

    def shown(self, name):
        return self.run("return document.getElementById(arguments[0]).textContent", name)

    def click(self, name):
        self.element(name).click()

    def type(self, *keys):
        self.element("text").send_keys(*keys)
        return self

    def press(self, *keys):
        """Presses keys wherever the focus is, the last one together with those before it."""
        chain = ActionChains(self.driver)
        for key in keys[:-1]:
            chain.key_down(key)
        chain.send_keys(keys[-1])
        for key in reversed(keys[:-1]):
            chain.key_up(key)
        chain.perform()

    @property
    def text(self):
        return self.element("text").get_property("value")

    @property
    def ghost(self):
        return self.run("return document.querySelector('.ghost').textContent")

    @property
    def focused(self):
        return self.run("return document.activeElement.id || document.activeElement.textContent")

    def wait_for_text(self, pattern):
        return self.wait(lambda: re.fullmatch(pattern, self.text))

    def wait_for_ghost(self, text):
        self.wait(lambda: self.ghost == text)

    def set_length(self, num_chars):
        """Sets how much is generated, as the form would."""
        self.run(
            "const input = document.getElementById('setting-max_tokens');"
            "input.value = arguments[0]; input.dispatchEvent(new Event('input'));",
            num_chars,
        )

    def set_seed(self, seed):
        self.run(
            "const input = document.getElementById('setting-seed');"
            "input.value = arguments[0]; input.dispatchEvent(new Event('input'));",
            str(seed),
        )

    def record_requests(self):
        """Keeps the bodies of requests in `window.sent`."""
        self.run(
            "const original = window.fetch; window.sent = [];"
            "window.fetch = (path, init) => { sent.push(init.body); return original(path, init); }"
        )

    def generate(self):
        """Continues the text and waits until that is complete."""
        before = self.text
        self.type(Keys.CONTROL, Keys.ENTER)
        self.wait_until_done()
        assert self.text != before

    def wait_until_done(self):
        self.wait(lambda: self.shown("continue") == "Continue")

    def num_highlighted(self, name):
        """The number of characters that a CSS highlight colours."""
        return self.run(
            "return [...(CSS.highlights.get(arguments[0]) ?? [])]"
            ".reduce((sum, range) => sum + range.endOffset - range.startOffset, 0)",
            name,
        )

    @contextlib.contextmanager
    def on_a_phone(self):
        """A small screen."""
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    @property
    def num_pixels_beyond(self):
        """How much wider the page is than the window."""
        return self.run("return document.documentElement.scrollWidth - innerWidth")

    @property
    def cut_off(self):
        """The controls that are not entirely inside the window."""
        return self.run(
            "return [...document.querySelectorAll('button, input, select')]"
            ".filter((e) => e.offsetParent)"
            ".map((e) => [e.id || e.textContent, e.getBoundingClientRect()])"
            ".filter(([, box]) => box.left < 0 || box.right > innerWidth).map(([id]) => id)"
        )
