"""The house itself: order of imports, recipes, README and Makefile agree with the code."""

import ast
import re
import subprocess
import sys

import pytest

from shakespeare_gen import config, flag_tables
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "shakespeare_gen"
# Imports point to an earlier row only.
ORDER = (
    "errors",
    "option_groups",
    "config",
    "cli",
    "extras",
    "flag_tables",
    "storage",
    "tensors",
    "interruption",
    "progress",
    "architecture",
    "corpora",
    "vocabulary",
    "windows",
    "devices",
    "layers",
    "model",
    "metrics",
    "sampling",
    "stepping",
    "beam_search",
    "drawing",
    "stopping",
    "request",
    "generation",
    "evaluation",
    "inspection",
    "plotting",
    "report",
    "atomic",
    "run_folder",
    "runs",
    "checkpoints",
    "run_card",
    "callbacks",
    "training",
    "experiment",
    "assessment",
    "comparison",
    "evaluate",
    "generate",
    "inspect",
    "plot",
    "train",
)
COMMANDS = ("evaluate", "generate", "inspect", "plot", "train")
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
    assert {concern(path) for path in MODULES} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_up(path):
    here = concern(path)
    for name in imports(path):
        assert name == here or ORDER.index(name) < ORDER.index(here), f"{here} imports {name}"
        assert name not in COMMANDS


def test_absl_flags_has_one_importer():
    text = {p: p.read_text("utf-8") for p in MODULES}
    importers = [concern(p) for p, source in text.items() if re.search(r"absl.*\bflags\b", source)]
    assert set(importers) == {"cli"}


def test_config_is_for_commands_runs_and_the_bounds_of_sampling():
    users = {concern(p) for p in MODULES if "config" in imports(p)}
    assert users == {"experiment", "flag_tables", "generation", "request", "runs", *COMMANDS}
    users = {concern(p) for p in MODULES if "option_groups" in imports(p)}
    assert users == {"cli", "config", "flag_tables", "experiment", "runs", "evaluate", "train"}


@pytest.mark.parametrize("path", FLAG_FILES, ids=lambda p: p.name)
def test_every_flagfile_parses_and_comments_start_lines(path):
    code = (
        f"import sys; sys.argv = ['train', '--flagfile={path}']\n"
        "from shakespeare_gen import cli, config, option_groups\n"
        "cli.run(lambda *configs: print(option_groups.non_defaults(*configs)),"
        " *config.TRAIN_GROUPS)"
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
    assert flag_tables.updated(text) == text, "run: make docs"
    for name in flag_tables.TABLES:
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
        "from shakespeare_gen import config, option_groups\n"
        "extra = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "sys.exit(str(extra - sys.stdlib_module_names - {'shakespeare_gen'})"
        " if extra - sys.stdlib_module_names - {'shakespeare_gen'} else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert config.TRAIN_GROUPS
