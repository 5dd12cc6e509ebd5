"""The repository itself: import order, recipes, pages, packaging and Makefile."""

import ast
import fnmatch
import functools
import importlib
import json
import pathlib
import re
import runpy
import subprocess
import sys

import pytest

from docs import messages, update_stub, update_tables
from shakespeare_gen.__main__ import VERBS
from shakespeare_gen.options.fields import fields_of
from tests import forked_commands
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "shakespeare_gen"
# A folder imports only from the preceding folders, and commands import from all of them.
ORDER = (
    "errors",
    "system",
    "options",
    "data",
    "models",
    "generation",
    "writing",
    "pretrained",
    "runs",
    "evaluation",
    "training",
    "report",
    "serving",
    "tuning",
    "exporting",
)
COMMANDS = tuple(VERBS)
FLAG_FILES = sorted((REPOSITORY / "flags").glob("*.cfg"))
PAGES = sorted(
    [
        path
        for name in ("", "docs/", "benchmarks/", "notebooks/")
        for path in REPOSITORY.glob(f"{name}*.md")
    ]
)
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
MODULES = {path.relative_to(PACKAGE): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
LIBRARIES = {
    path: code for path, code in MODULES.items() if path.parts[0].removesuffix(".py") in ORDER
}
# XLA has its own flags, in an environment variable.
SPELLED_FLAG = re.compile(r"--(?!xla_)[a-z_]{3,}")


@functools.cache
def nodes_of(code):
    """The syntax tree of a module as a list; its first node is the module."""
    return list(ast.walk(ast.parse(code)))


def imported(code):
    """The dotted names that code imports, including those inside functions."""
    for node in nodes_of(code):
        if isinstance(node, ast.ImportFrom):
            yield from [f"{node.module}.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            yield from [alias.name for alias in node.names]


def imported_folders(code):
    """The folders and top-level modules of the package that code imports."""
    names = [name.split(".") for name in imported(code)]
    return {name[1] for name in names if name[0] == "shakespeare_gen" and name[1:]}


def markdown(path):
    """The Markdown text of a page or notebook, without code blocks."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """The anchors that GitHub assigns to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", markdown(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def groups_of_every_command():
    for verb in VERBS.values():
        yield from importlib.import_module(verb.module).groups()


def setup_arguments(monkeypatch):
    """The arguments that setup.py passes to `setuptools.setup`."""
    arguments = {}
    monkeypatch.setattr("setuptools.setup", lambda **given: arguments.update(given))
    runpy.run_path(str(REPOSITORY / "setup.py"))
    return arguments


def test_every_module_belongs_to_a_folder_or_is_a_command():
    top = {path.parts[0].removesuffix(".py") for path in MODULES}
    assert top == {*ORDER, *COMMANDS, "__init__", "__main__"}


def test_imports_point_to_earlier_folders():
    for path, code in LIBRARIES.items():
        folder = path.parts[0].removesuffix(".py")
        later = imported_folders(code) - {*ORDER[: ORDER.index(folder) + 1], "__version__"}
        assert not later, f"{path} imports {later}"


def test_commands_import_no_other_command():
    for name in COMMANDS:
        code = MODULES[pathlib.Path(f"{name}.py")]
        assert not {*COMMANDS, "__main__"} & imported_folders(code), name


def test_no_module_has_the_name_of_a_standard_library_module():
    """`PYTHONPATH=. python shakespeare_gen/train.py` once failed because of a module `inspect`."""
    names = {part.removesuffix(".py") for path in MODULES for part in path.parts}
    assert not names & set(sys.stdlib_module_names)


def test_every_module_has_a_docstring():
    for path, code in MODULES.items():
        docstring = ast.get_docstring(nodes_of(code)[0]) or ""
        assert len(docstring) > 10, f"{path}: expected a docstring, found {docstring!r}"


def test_absl_flags_has_one_importer():
    importers = [
        path.stem
        for path, code in MODULES.items()
        if any(re.match(r"absl\.(flags|app)\b", name) for name in imported(code))
    ]
    assert importers == ["command_line"]


def test_libraries_do_not_spell_flags():
    """Only commands spell the name of an option as a flag."""
    for path, code in LIBRARIES.items():
        if path.parts[0] == "options":
            continue
        for node in nodes_of(code):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = SPELLED_FLAG.search(node.value)
                assert not found, f"{path}:{node.lineno} spells {found and found[0]}"


def test_options_need_only_the_standard_library():
    code = (
        "import sys; before = set(sys.modules)\n"
        "from shakespeare_gen.options import fields, groups, help_pages, recipes, signatures\n"
        "from shakespeare_gen.options import spelling, tables\n"
        "names = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*names - sys.stdlib_module_names - {'shakespeare_gen'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"\n"


def test_every_option_has_a_help_text():
    for group in groups_of_every_command():
        assert group.TITLE, group
        for field in fields_of(group):
            assert field.metadata["help"].strip(), field.name


def test_an_option_belongs_to_one_group_of_a_command():
    """Two model families may share an option if both define it in the same way."""
    for verb in VERBS.values():
        defined = {}
        for field in (
            f for g in importlib.import_module(verb.module).groups() for f in fields_of(g)
        ):
            shape = (field.type, field.default, field.metadata)
            assert defined.setdefault(field.name, shape) == shape, field.name


def test_the_commands_are_listed_without_tensorflow():
    code = (
        "import sys; from shakespeare_gen.__main__ import main; main(['--help'])\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.endswith("\nFalse\n")
    for name, verb in VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(verb.summary)}$", done.stdout, re.MULTILINE)


def test_an_unknown_command_is_reported_on_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "shakespeare_gen", "trian"],
        capture_output=True,
        check=False,
        cwd=REPOSITORY,
        text=True,
    )
    known = ", ".join(VERBS)
    assert done.stderr == f"shakespeare-gen: unknown command 'trian'; known: {known}\n"
    assert (done.returncode, done.stdout) == (2, "")


def test_every_flagfile_parses():
    commands = [["train", f"--flagfile={path}", "--only_check_args"] for path in FLAG_FILES]
    for done in forked_commands.run(commands):
        assert (done.returncode, done.stderr) == (0, ""), done.arguments


@pytest.mark.parametrize("path", FLAG_FILES, ids=lambda p: p.name)
def test_comments_of_a_flagfile_start_lines(path):
    text = path.read_text("utf-8")
    assert len(re.findall(r"^--", text, re.MULTILINE)) > 3
    assert not re.search(r"^--.*#", text, re.MULTILINE)


@pytest.mark.parametrize("path", FLAG_FILES, ids=lambda p: p.name)
def test_every_recipe_states_its_expected_results(path):
    header = " ".join(re.findall(r"^# ?(.*)", path.read_text("utf-8"), re.MULTILINE))
    for word in ("python -m shakespeare_gen.train", "minutes", "bits per character", "commit"):
        assert word in header, word


def test_the_tables_of_flags_match_the_code():
    text = (REPOSITORY / "docs" / "flags.md").read_text("utf-8")
    assert set(re.findall(r"<!-- flags: (\w+) -->", text)) == set(VERBS)
    assert update_tables.updated(text) == text, "run: make docs"


def test_the_types_for_editors_match_the_code():
    stub = (PACKAGE / "__init__.pyi").read_text("utf-8")
    assert update_stub.stub() == stub, "run: make docs"


def test_every_make_target_in_the_pages_exists():
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for path in PAGES:
        code = " ".join(re.findall(r"`[^`]*`|^    .*$", markdown(path), re.MULTILINE))
        named = set(" ".join(re.findall(r"\bmake ((?:[a-z-]+ ?)+)", code)).split())
        assert named <= targets, f"{path.name}: {named - targets}"


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda p: p.name)
def test_links_have_targets(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", markdown(path)):
        if re.match(r"[a-z]+:", target):  # another site; the tests do not use the network
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in anchors(linked), f"{path.name}: {target}"


def test_every_message_has_a_cure():
    """docs/troubleshooting.md explains each message of the package, and no other."""
    found = messages.collected()
    entries = messages.entries(messages.PAGE.read_text("utf-8"))
    unknown = [m for m in found if not any(messages.explains(e, m.text) for e in entries)]
    assert not unknown, "add them to docs/troubleshooting.md: python -m docs.messages"
    for entry in entries:
        assert any(messages.explains(entry, m.text) for m in found), f"no such message: {entry}"


def test_an_entry_explains_messages_like_it_and_no_others():
    assert messages.explains("units: expected …", "units: expected at least 1, received …")
    assert not messages.explains("units: expected …", "width: expected at least 1, received …")
    page = messages.entries(messages.PAGE.read_text("utf-8"))
    for text in (
        "…: expected a horse, received …",
        "`crown` and `head`: expected both",
        "uneasy …",
    ):
        assert not [entry for entry in page if messages.explains(entry, text)]


def test_all_package_data_is_in_the_wheel(monkeypatch):
    arguments = setup_arguments(monkeypatch)
    folders = arguments["package_dir"]
    packages = {folders.get(name, name.replace(".", "/")) for name in arguments["packages"]}
    patterns = {
        f"{folders.get(package, package.replace('.', '/'))}/{name}"
        for package, names in arguments["package_data"].items()
        for name in names
    }
    tracked = subprocess.run(
        ["git", "ls-files", "shakespeare_gen", "flags"],
        capture_output=True,
        check=True,
        cwd=REPOSITORY,
        text=True,
    ).stdout.split()
    assert "shakespeare_gen/py.typed" in tracked
    for path in tracked:
        is_data = any(fnmatch.fnmatch(path, pattern) for pattern in patterns)
        is_code = path.endswith(".py") and path.rpartition("/")[0] in packages
        assert is_data or is_code, path


def test_the_console_script_is_registered(monkeypatch):
    scripts = setup_arguments(monkeypatch)["entry_points"]["console_scripts"]
    assert scripts == ["shakespeare-gen = shakespeare_gen.__main__:main"]


def test_the_lowest_versions_are_those_of_setup_py(monkeypatch):
    """CI runs the tests with them; a bound that is raised in only one place would be untested."""
    arguments = setup_arguments(monkeypatch)
    extras = arguments["extras_require"]
    requirements = {*arguments["install_requires"], *extras["test"]}
    constraints = (REPOSITORY / ".ci" / "lowest.txt").read_text("utf-8")
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+)$", constraints, re.MULTILINE))
    assert set(pinned) == {re.match(r"[\w-]+", r)[0] for r in requirements}
    for requirement in requirements:
        name, lowest = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
        assert re.fullmatch(rf"{re.escape(lowest)}(\.0)*", pinned[name]), name


def test_the_workflow_runs_the_python_versions_of_setup_py(monkeypatch):
    names = setup_arguments(monkeypatch)["classifiers"]
    workflow = (REPOSITORY / ".github" / "workflows" / "checks.yml").read_text("utf-8")
    named = set(re.findall(r":: (3\.\d+)", " ".join(names)))
    assert named == set(re.findall(r'- python-version: "(.*)"', workflow))
