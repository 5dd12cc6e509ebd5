"""The house itself: order of imports, recipes, README and Makefile agree with the code."""

import ast
import re
import subprocess
import sys

import pytest

from shakespeare_gen.options import groups, tables
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "shakespeare_gen"
# A folder imports only from the folders before it.
ORDER = (
    "errors",
    "options",
    "system",
    "data",
    "models",
    "generation",
    "runs",
    "evaluation",
    "training",
    "report",
)
COMMANDS = ("compare", "describe", "evaluate", "generate", "train")
FLAG_FILES = sorted((REPOSITORY / "flags").glob("*.cfg"))


def imports(path):
    """The modules of the package that a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shakespeare_gen"):
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


def concern(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def test_every_module_has_its_place():
    assert {concern(path) for path in MODULES} == {*ORDER, *COMMANDS}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_up(path):
    here = concern(path)
    for name in imports(path):
        assert name not in COMMANDS, f"{here} imports the command {name}"
        if here not in COMMANDS:
            assert ORDER.index(name) <= ORDER.index(here), f"{here} imports {name}"


def test_absl_flags_has_one_importer():
    importers = [p.stem for p in MODULES if re.search(r"absl.*\bflags\b", p.read_text("utf-8"))]
    assert importers == ["command_line"]


@pytest.mark.parametrize("path", FLAG_FILES, ids=lambda p: p.name)
def test_every_flagfile_parses_and_comments_start_lines(path):
    code = (
        f"import sys; sys.argv = ['train', '--flagfile={path}']\n"
        "from shakespeare_gen.options import command_line, fields, groups\n"
        "command_line.run(lambda *every: print(fields.non_defaults(*every)),"
        " *groups.TRAIN_GROUPS)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout != "{}\n"
    assert not re.search(r"^--.*#", path.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", FLAG_FILES, ids=lambda p: p.name)
def test_every_recipe_says_what_to_expect(path):
    header = "".join(re.findall(r"^#.*\n", path.read_text("utf-8"), re.MULTILINE))
    for word in ("python -m shakespeare_gen.train", "minutes", "bits per character", "commit"):
        assert word in header, word


def test_the_readme_tables_are_the_code():
    text = (REPOSITORY / "README.md").read_text("utf-8")
    assert tables.updated(text) == text, "run: make docs"
    for name in tables.TABLES:
        assert f"<!-- flags: {name} -->" in text


def test_every_make_target_that_is_named_exists():
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (REPOSITORY / page).read_text("utf-8")
        named = set(
            re.findall(
                r"`?make ([a-z-]+)`?", " ".join(re.findall(r"`[^`]*`|^    .*$", text, re.MULTILINE))
            )
        )
        assert named <= targets, named - targets


def test_config_needs_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules)\n"
        "from shakespeare_gen.options import fields, groups\n"
        "extra = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "sys.exit(str(extra - sys.stdlib_module_names - {'shakespeare_gen'})"
        " if extra - sys.stdlib_module_names - {'shakespeare_gen'} else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert groups.TRAIN_GROUPS
