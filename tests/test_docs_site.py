"""The documentation as a site: links, no outside requests, formulas, figures."""

import html.parser
import json
import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    done = subprocess.run(
        [*command, "-c", "docs", "-d", str(folder / "trees"), ".", str(folder / "site")],
        capture_output=True,
        check=False,
        cwd=REPOSITORY,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


class Requests(html.parser.HTMLParser):
    """The addresses that a browser loads with a page, and the links of the page."""

    def __init__(self, path):
        super().__init__()
        self.loaded, self.links = [], []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "srcset", "poster", "data") or (name, tag) == ("href", "link"):
                self.loaded.append(value)
            elif name == "href":
                self.links.append(value)


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_loads_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        for address in Requests(page).loaded:
            assert not re.match(r"(?:[a-z]+:)?//", address), f"{page.name}: {address}"
            if not address.startswith(("data:", "#")):
                assert (page.parent / address.split("?")[0]).exists(), f"{page.name}: {address}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(?:https?:)?//", style.read_text("utf-8")), style.name


@pytest.mark.slow
def test_the_first_page_leads_to_every_page_of_docs(site):
    assert 'url=docs/index.html"' in (site / "index.html").read_text("utf-8")
    links = {link.split("#")[0] for link in Requests(site / "docs" / "index.html").links}
    pages = {f"{page.stem}.html" for page in (REPOSITORY / "docs").glob("*.md")}
    assert pages - {"index.html"} <= links


@pytest.mark.slow
def test_the_api_page_has_every_public_name_and_option(site):
    import shakespeare_gen

    page = (site / "docs" / "api.html").read_text("utf-8")
    missing = [n for n in shakespeare_gen.__all__ if f'id="shakespeare_gen.{n}"' not in page]
    assert not missing
    assert "<strong>dropout</strong>" in page


def test_the_pages_show_the_figures_that_are_drawn():
    from docs import update_figures

    pages = "\n".join(path.read_text("utf-8") for path in (REPOSITORY / "docs").glob("*.md"))
    shown = set(re.findall(r"\(figures/([\w.]+)\)", pages))
    drawn = {path.name for path in update_figures.FOLDER.iterdir()}
    assert shown == drawn == set(update_figures.FIGURES)


def test_the_table_of_sizes_is_that_of_the_code():
    from shakespeare_gen.training import sizing

    page = (REPOSITORY / "docs" / "text_size.md").read_text("utf-8")
    rows = re.findall(r"^\| ([\d,]+|more) \| (.*) \|$", page, re.MULTILINE)
    names = ("units", "embedding_size", "dropout", "batch_size", "window_chars", "epochs")
    assert [[float(cell) for cell in row.split(" | ")] for _, row in rows] == [
        [float(values[name]) for name in names] for values in sizing.SIZES.values()
    ]
    limits = [float(size.replace(",", "")) for size, _ in rows[:-1]]
    assert limits == list(sizing.SIZES)[:-1]


def test_the_page_of_text_sizes_is_made_from_its_results():
    from benchmarks import text_size

    results = json.loads(text_size.RESULTS.read_text("utf-8"))
    assert set(results) <= {trial.name for trial in text_size.trials()}
    assert text_size.page(results) == text_size.PAGE.read_text("utf-8")


def test_a_trial_trains_on_as_many_characters_as_its_size_says():
    from benchmarks import text_size
    from shakespeare_gen.data import splits

    for size, num_chars in text_size.SIZES.items():
        options = text_size.options_of(text_size.Trial(size, (("units", 64),)))
        text = "x" * (num_chars + text_size.VALIDATION_CHARS)
        found = splits.cut(text, options["validation_fraction"], options["test_fraction"])
        assert (len(found.train), found.test) == (num_chars, "")
        assert options["units"] == 64
