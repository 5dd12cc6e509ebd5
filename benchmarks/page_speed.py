"""Speed of an exported page: characters per second in headless Chromium, on one core.

    make bench-page

Exports `pretrained:tiny-shakespeare` (512 units) with `--format=html`, opens the file from disk,
and lets its engine write with WebAssembly and in plain JavaScript; the engine of `generate
--engine=numpy` takes turns with it on the same core. Also measures the time from opening the file
to the first character, and the product of the recurrent matrix alone. Writes benchmarks/PAGE.md.

Rates are per second of processor time, of all threads of the browser, as Linux counts it: what one
core would do if nothing else ran on it. A call of the engine keeps one thread busy.
"""

import argparse
import base64
import os
import pathlib
import platform
import re
import shutil
import statistics
import tempfile
import time

from selenium import webdriver

from shakespeare_gen.exporting.html_file import content, page
from shakespeare_gen.exporting.html_file.content import Content
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.generation import Generator
from shakespeare_gen.runs import loading

HERE = pathlib.Path(__file__).parent
MODEL = "pretrained:tiny-shakespeare"
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run")
PROMPT = "ROMEO:"
SAMPLINGS = {
    "temperature 0.8": {"temperature": 0.8},
    "temperature 0.8, top p 0.95": {"temperature": 0.8, "top_p": 0.95},
}
# Of one call.
NUM_CHARS, NUM_PLAIN_CHARS = 4000, 200
NUM_OPENINGS = 7
WRITE = """
const [request, done] = arguments;
const { engine } = modules["main.js"];
let count = 0;
engine
  .complete(request, (text) => (count += text.length))
  .then(() => done(count), (error) => done(String(error)));
"""
# Presses Continue as soon as the page is loaded, and notes when text appears.
PRESS = """
addEventListener("DOMContentLoaded", () => {
  const area = document.getElementById("text");
  const look = () => {
    if (area.value.length > arguments_prompt) window.firstMs = performance.now();
    else setTimeout(look, 1);
  };
  document.getElementById("continue").click();
  look();
});
"""
PRODUCT = """
const done = arguments[0];
const code = Uint8Array.from(atob(document.getElementById("kernel").textContent),
  (c) => c.charCodeAt(0));
WebAssembly.instantiate(code).then(({ instance }) => {
  const { memory, split, product } = instance.exports;
  memory.grow(20);
  const [rows, columns, at] = [2048, 512, 1 << 16];
  const scales = 1 << 15;
  const step = () => {
    const unit = split(1024, columns, 4096, 8192, 14);
    product(at, scales, rows, columns, 4096, 8192, unit, unit * 2 ** -15, 16384);
  };
  const times = [];
  for (let turn = 0; turn < 200; turn++) {
    const began = performance.now();
    for (let i = 0; i < 20; i++) step();
    times.push((performance.now() - began) / 20);
  }
  done(times.sort((a, b) => a - b)[20]);
});
"""


def browser(profile: str) -> webdriver.Chrome:
    """A new browser."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    return webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or "")
    )


def first_ms(driver: webdriver.Chrome, path: pathlib.Path) -> tuple[float, float]:
    """Milliseconds from the opening of a page to the first character that it writes: those that
    passed, and those of the processor."""
    driver.get("about:blank")
    script = PRESS.replace("arguments_prompt", str(len(PROMPT)))
    added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    began = used_seconds(driver)
    driver.get(f"{path.as_uri()}#prompt={PROMPT}")
    found = None
    while found is None:
        time.sleep(0.1)  # every look costs time of the browser
        found = driver.execute_script("return window.firstMs")
    driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    return found, 1000 * (used_seconds(driver) - began)


def used_seconds(driver: webdriver.Chrome) -> float:
    """Processor time of all threads of the browser so far."""
    [parent, total] = [driver.service.process.pid, 0]
    waiting = [parent]
    while waiting:
        for task in pathlib.Path(f"/proc/{waiting.pop()}/task").glob("*"):
            try:
                total += int((task / "schedstat").read_text().split()[0])
                waiting += map(int, (task / "children").read_text().split())
            except OSError:  # it has ended
                continue
    return total / 1e9


def rate(driver: webdriver.Chrome, num_chars: int, seed: int, sampling: dict) -> float:
    """Characters per second of one call of the engine of the page that is open."""
    request = {"prompt": PROMPT, "max_tokens": num_chars, "seed": seed, **sampling}
    began = used_seconds(driver)
    found = driver.execute_async_script(WRITE, request)
    assert found == num_chars, found
    return num_chars / (used_seconds(driver) - began)


def numpy_rate(generator: Generator, seed: int, sampling: dict) -> float:
    """The same of the engine in NumPy."""
    began = time.process_time()
    generator.generate(PROMPT, length=NUM_CHARS, seed=seed, **sampling)
    return NUM_CHARS / (time.process_time() - began)


def run(num_turns: int) -> tuple[dict[str, list[float]], float, int]:
    """Rates and times by name, milliseconds per product, and the size of the page."""
    subject = Subject.of(loading.read_checkpoints([MODEL]))
    with tempfile.TemporaryDirectory() as folder:
        text = page.render(Content.of(subject))
        path, plain = pathlib.Path(folder, "page.html"), pathlib.Path(folder, "plain.html")
        path.write_text(text, "utf-8")
        nothing = base64.b64encode(b"nothing").decode()
        plain.write_text(re.sub(r'(id="kernel">)[^<]*', rf"\g<1>{nothing}", text), "utf-8")
        generator = Generator(content.model_of(*page.read(path)), subject.tokenizer)
        driver = browser(str(pathlib.Path(folder, "profile")))
        try:
            return *measured(driver, path, plain, generator, num_turns), path.stat().st_size
        finally:
            driver.quit()


def measured(
    driver: webdriver.Chrome,
    path: pathlib.Path,
    plain: pathlib.Path,
    generator: Generator,
    num_turns: int,
) -> tuple[dict[str, list[float]], float]:
    """The measurements, in turns."""
    waits = [first_ms(driver, path) for _ in range(NUM_OPENINGS)]
    found: dict[str, list[float]] = dict(
        zip(("passed", "used"), zip(*waits, strict=True), strict=True)
    )
    for turn in range(num_turns):
        for name, sampling in SAMPLINGS.items():
            rates = rate(driver, NUM_CHARS, turn, sampling), numpy_rate(generator, turn, sampling)
            for kind, value in zip(("page", "numpy"), rates, strict=True):
                found.setdefault(f"{kind}, {name}", []).append(value)
    product_ms = driver.execute_async_script(PRODUCT)
    driver.get(plain.as_uri())
    sampling = SAMPLINGS["temperature 0.8"]
    plain_rates = [rate(driver, NUM_PLAIN_CHARS, turn, sampling) for turn in range(5)]
    return {**found, "plain": plain_rates}, product_ms


def report(rates: dict[str, list[float]], product_ms: float, size: int, num_turns: int) -> str:
    """The page of results."""
    labels = {f"page, {name}": f"WebAssembly SIMD, {name}" for name in SAMPLINGS}
    labels |= {"plain": "plain JavaScript, temperature 0.8"}
    labels |= {f"numpy, {name}": f"`generate --engine=numpy`, {name}" for name in SAMPLINGS}
    rows = [
        f"| {label} | {statistics.median(rates[key]):,.0f} | {max(rates[key]):,.0f} |"
        for key, label in labels.items()
    ]
    weights = 2048 * 512
    per_character = 1e6 / max(rates[f"page, {next(iter(SAMPLINGS))}"])
    return f"""# Speed of an exported page

`python benchmarks/page_speed.py --turns={num_turns}`, {processor()}, {time.strftime("%Y-%m-%d")};
load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores. The model has 512 units; the file has \
{size / 1e6:.2f} MB. {num_turns} turns of
{NUM_CHARS:,} characters. Rates are per second of processor time, of all threads of the browser:
what one core does if nothing else runs on it.

| | characters/s, median | fastest turn |
|---|---|---|
{chr(10).join(rows)}

From opening the file to the first character, with Continue pressed as soon as the page is there:
{statistics.median(rates["used"]):,.0f} ms of processor time, of all threads of the browser; \
{min(rates["passed"]):,.0f} to {max(rates["passed"]):,.0f} ms passed, at this load.

The product of the recurrent matrix, 512 x 2048 in int8, takes {1000 * product_ms:.0f} us alone, of
the {per_character:.0f} us of a character in the fastest turn. That reads \
{weights / product_ms / 1e6:.1f} GB/s of weights, which stay in the
second-level cache (1.1 MB in all). The limit is the number of instructions: 16 weights take 2 loads
that widen them, and 4 multiplications and 4 additions of 8 numbers, because an element of the state
has two parts of 15 bits; {10 * weights / 16 / product_ms / 1e6:.1f} such instructions run per \
nanosecond. Weights in float32 would be
4.2 MB, more than that cache, and to convert 16 int8 weights to float32 and multiply them takes 18.
"""


def processor() -> str:
    """The name of the processor."""
    path = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", path.read_text()) if path.exists() else None
    return found[1] if found else platform.processor()


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--output", default=str(HERE / "PAGE.md"))
    flags = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # the browser inherits it
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    text = report(*run(flags.turns), flags.turns)
    pathlib.Path(flags.output).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
