"""From a keystroke on the page of the server to the suggestion that follows it, in Chromium.

    python benchmarks/suggestion_speed.py

Starts `shakespeare_gen.serve` with `pretrained:tiny-shakespeare` (512 units), opens its page and
types, each time without a suggestion on the screen, so that the server is asked. The time includes
the pause for which the page waits whether the writer goes on. Writes the section about suggestions
of benchmarks/SERVING.md.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile
import time

from selenium import webdriver
from selenium.webdriver import Keys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # runs from a clone, installed or not
from benchmarks import page_speed, sections, serve_load  # noqa: E402

HEADING = "## Suggestions"
TEXT = "ROMEO:\nO, she doth teach the torches to burn bright! It seems she hangs upon the cheek of "
# Notes when a key is pressed, and when the next suggestion appears.
WATCH = """
const area = document.getElementById("text");
const ghost = document.querySelector(".ghost");
area.addEventListener("keydown", () => {
  window.pressed = performance.now();
  window.found = null;
}, true);
new MutationObserver(() => {
  if (ghost.textContent && window.found === null) window.found = performance.now() - window.pressed;
}).observe(ghost, { childList: true, characterData: true, subtree: true });
"""
MAX_SECONDS = 10


def typed(driver: webdriver.Chrome, character: str) -> float:
    """Milliseconds from a key to its suggestion, after the suggestion before was declined."""
    area = driver.find_element("id", "text")
    area.send_keys(Keys.ESCAPE)
    area.send_keys(character)
    deadline = time.monotonic() + MAX_SECONDS
    while time.monotonic() < deadline:
        if found := driver.execute_script("return window.found"):
            return found
        time.sleep(0.05)
    raise SystemExit(f"expected a suggestion after {character!r}, found none")


def run(url: str, num_keys: int) -> list[float]:
    """Milliseconds of each key."""
    with tempfile.TemporaryDirectory() as profile:
        driver = page_speed.browser(profile)
        try:
            driver.get(url)
            time.sleep(1)
            driver.execute_script(WATCH)
            driver.find_element("id", "text").send_keys(TEXT)
            characters = (TEXT * 9)[:num_keys].replace("\n", " ")
            return [typed(driver, character) for character in characters]
        finally:
            driver.quit()


def section(found: list[float], num_keys: int) -> str:
    """The section of the page."""
    return (
        f"`python benchmarks/suggestion_speed.py --keys={num_keys}`, "
        f"{time.strftime('%Y-%m-%d')}: from a keystroke on the page to the suggestion that follows "
        f"it, {statistics.median(found):,.0f} ms (median of {len(found)}; p95 "
        f"{statistics.quantiles(found, n=20)[-1]:,.0f} ms), the pause of the page included.\n"
    )


def main() -> None:
    """Measures and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--output", default=str(HERE / "SERVING.md"))
    flags = parser.parse_args()
    with serve_load.server("auto", "float32") as (url, _):
        found = run(url, flags.keys)
    text = section(found, flags.keys)
    sections.write(pathlib.Path(flags.output), HEADING, text)
    print(text)


if __name__ == "__main__":
    main()
