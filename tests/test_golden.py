"""Run folders of every format version there ever was, kept as they were written.

They are never made again. When `runs.FORMAT_VERSION` grows, a folder of the new
version joins them.
"""

import pytest

import shakespeare_gen
from shakespeare_gen import runs
from tests.conftest import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden"
FOLDERS = sorted(path for path in GOLDEN.iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_an_old_run_still_writes_the_same_text(folder):
    expected = (GOLDEN / f"{folder.name}.txt").read_text("utf-8")
    prompt = "The wind"
    generator = shakespeare_gen.load_generator(str(folder))
    assert prompt + generator.generate(prompt, length=200, temperature=0)[0].text == expected


def test_the_format_of_today_has_a_golden_run():
    assert f"format-{runs.FORMAT_VERSION}" in [folder.name for folder in FOLDERS]
