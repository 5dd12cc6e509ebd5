"""What every command does before its work: help, flags, recipes, and the choice of a run."""

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

import shakespeare_gen
from shakespeare_gen import train
from shakespeare_gen.__main__ import VERBS
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options, recipes
from shakespeare_gen.options.fields import fields_by_name
from shakespeare_gen.runs import finding
from shakespeare_gen.system import storage
from shakespeare_gen.training import preparation
from tests import forked_commands
from tests.conftest import REPOSITORY
from tests.fake_runs import write_run

# Imports that take seconds, and that none of these commands needs.
HEAVY = ("tensorflow", "keras", "matplotlib", "tensorflow_datasets", "requests", "filelock")


def run(verb, *flags, cwd=REPOSITORY):
    return subprocess.run(
        [sys.executable, "-m", f"shakespeare_gen.{verb}", *flags],
        capture_output=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        text=True,
    )


def finish(path, time):
    """Writes a run whose training ended at `time`."""
    run_folder = write_run(path).folder
    storage.write(run_folder.card_path, storage.to_json({"status": "finished"}))
    os.utime(run_folder.card_path, (time, time))
    return path


@pytest.fixture
def run_folders(tmp_path, monkeypatch):
    """A working folder in which the run `new` finished last, and `running` is not finished."""
    monkeypatch.chdir(tmp_path)
    finish(tmp_path / "runs" / "new", 2000)
    finish(tmp_path / "runs" / "old", 1000)
    running = write_run(tmp_path / "runs" / "running").folder
    storage.write(running.card_path, storage.to_json({"status": "running"}))
    (tmp_path / "runs" / "notes.txt").write_text("not a run")
    return tmp_path


# Help


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help_page_lists_the_options_of_the_command_only(flag):
    done = run("describe", flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nCorpus:\n" in done.stdout
    assert "--verbosity" not in done.stdout


@pytest.mark.parametrize("flag", ["--helpfull", "--helpshort"])
def test_the_full_help_page_also_lists_the_flags_of_absl(flag):
    done = run("describe", flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.index("--corpus=") < done.stdout.index("Flags of absl:")
    assert done.stdout.index("Flags of absl:") < done.stdout.index("--verbosity=")
    assert done.stdout.count("\n  --corpus=") == 1


@pytest.mark.parametrize("arguments", [["shakespeare_gen"], ["shakespeare_gen.describe"]])
def test_the_version_is_printed(arguments):
    done = subprocess.run(
        [sys.executable, "-m", *arguments, "--version"],
        capture_output=True,
        check=True,
        cwd=REPOSITORY,
        text=True,
    )
    assert done.stdout == f"shakespeare_gen {shakespeare_gen.__version__}\n"


# Flags


def test_an_invalid_flag_is_reported_on_one_line_that_helps():
    """absl printed the tuple ('Non-boolean argument to boolean flag', 'maybe')."""
    cases = [
        ("--temprature=1", "unknown flag --temprature; did you mean --temperature?"),
        ("--top-k=1", "unknown flag --top-k; did you mean --top_k?"),
        ("--nountil_lin", "unknown flag --nountil_lin; did you mean --nountil_line?"),
        ("--xyzzy", "unknown flag --xyzzy; --help lists the flags"),
        ("--until_line=maybe", "--until_line: expected true or false, received 'maybe'"),
        ("--length=a: b", "--length: expected an integer, received 'a: b'"),
        ("--top_p=half", "--top_p: expected a number, received 'half'"),
        (
            "--flagfile=qick",
            "--flagfile=qick: expected a file or a recipe; did you mean 'quick.cfg'?; recipes: ",
        ),
        ("--flagfile=zzz", "--flagfile=zzz: expected a file or a recipe; recipes: "),
    ]
    every = forked_commands.run([["generate", flag] for flag, _ in cases])
    for done, (_, message) in zip(every, cases, strict=True):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith(f"generate: {message}")


def test_an_empty_corpus_is_an_invalid_flag():
    done = run("train", "--corpus=")
    assert done.returncode == 2
    assert done.stderr == "train: --corpus: expected a name or a path, received none\n"


# Recipes


@pytest.mark.parametrize(
    "arguments", [["--flagfile=quick"], ["--flagfile", "quick"], ["-flagfile=quick.cfg"]]
)
def test_a_recipe_is_found_by_its_name_from_any_folder(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expanded = recipes.expanded([*arguments, "--epochs=9"])
    assert "--run_dir=runs/quick" in expanded
    assert expanded[-1] == "--epochs=9"
    assert not any(line.startswith("#") for line in expanded)


def test_an_existing_file_precedes_a_recipe_but_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick").mkdir()
    assert "--units=256" in recipes.expanded(["--flagfile=quick"])
    (tmp_path / "quick").rmdir()
    (tmp_path / "quick").write_text("--units=3\r\n\n// a comment\n", "utf-8-sig")
    assert recipes.expanded(["--flagfile=quick"]) == ["--units=3"]


def test_a_file_of_flags_may_include_others(tmp_path):
    inner, outer = tmp_path / "inner.cfg", tmp_path / "outer.cfg"
    inner.write_text("--units=3", "utf-8")
    outer.write_text(f"--epochs=2\n--flagfile={inner}\n--flagfile {inner}\n--cell=gru", "utf-8")
    lines = ["--epochs=2", "--units=3", "--units=3", "--cell=gru"]
    rest = ["--", f"--flagfile={outer}"]
    assert recipes.expanded([f"--flagfile={outer}", *rest]) == [*lines, *rest]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"--flagfile=/dev/zero", "/dev/zero`: expected a regular file"),
        (b"--flagfile={self}", "expected at most 100 files, received more"),
        (b"--prompt=\xff", "expected utf-8, received byte 0xff at 9"),
        (b"#" * (2**20 + 1), "expected at most 1,048,576 bytes"),
        (b"--flagfile=", "expected a file or a recipe, received none"),
    ],
)
@pytest.mark.parametrize("form", [["--flagfile={}"], ["--flagfile", "{}"]])
def test_files_of_flags_are_read_with_bounds(content, message, form, tmp_path):
    """absl reads an endless file until the memory is full."""
    path = tmp_path / "flags.cfg"
    path.write_bytes(content.replace(b"{self}", os.fsencode(path)))
    with pytest.raises(UsageError, match=re.escape(message)):
        recipes.expanded([part.format(path) for part in form])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the repository, in which a build leaves its files."""
    folder = tmp_path_factory.mktemp("source")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=REPOSITORY, text=True)
    for name in filter(os.path.exists, done.stdout.splitlines()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("build", ["build_wheel", "build_editable"])
def test_an_installed_package_contains_the_recipes(build, source, tmp_path):
    code = f"from setuptools import build_meta; build_meta.{build}({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=source)
    [wheel] = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        f"import sys, site; site.addsitedir({str(site)!r})\n"
        f"sys.path.append({sysconfig.get_path('purelib')!r})\n"
        "import shakespeare_gen; print(shakespeare_gen.__file__)\n"
        "from shakespeare_gen.options import recipes; print(recipes.find('quick'))\n"
        "from shakespeare_gen.__main__ import main\n"
        "main(['train', '--flagfile=quick', '--only_check_args'])"
    )
    # Without the editable install of the repository itself.
    command = [sys.executable, "-P", "-S", "-c", code]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, check=False, cwd=tmp_path, env=environment, text=True
    )
    assert done.returncode == 0, done.stderr
    package, recipe = done.stdout.splitlines()
    is_wheel = build == "build_wheel"
    assert package == str((site if is_wheel else source) / "shakespeare_gen" / "__init__.py")
    folder = site / "shakespeare_gen" / "recipes" if is_wheel else source / "flags"
    assert recipe == str(folder / "quick.cfg")
    assert not is_wheel or (site / "shakespeare_gen" / "__init__.pyi").exists()


# The run that a command reads


def test_the_newest_finished_run_is_the_default(run_folders):
    done = run("generate", "--length=3", "--prompt=a", cwd=run_folders)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("runs/new is the newest finished run in runs\n")
    assert done.stdout.startswith("a")


def test_python_functions_have_the_same_default(run_folders):
    assert finding.chosen(()) == ["runs/new"]
    assert finding.chosen(["runs/old"]) == ["runs/old"]
    assert len(shakespeare_gen.load_generator().generate("a", length=3)[0].text) == 3


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
def test_without_a_finished_run_a_command_says_how_to_train_one(verb, tmp_path):
    done = run(verb, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"{verb}: --run_dir: expected a finished run in runs, found none; train one with: "
        "python -m shakespeare_gen.train --flagfile=quick --run_dir=runs/quick\n"
    )


def test_without_a_finished_run_the_others_are_named(run_folders):
    shutil.rmtree(run_folders / "runs" / "new")
    shutil.rmtree(run_folders / "runs" / "old")
    with pytest.raises(UserError, match="found none; runs in runs: running; train one"):
        finding.chosen(())


def test_the_error_for_a_missing_run_lists_the_runs_beside_it(run_folders):
    done = run("generate", "--run_dir=runs/newest", cwd=run_folders)
    assert done.returncode == 1
    assert done.stderr == (
        "generate: --run_dir=runs/newest: expected a run folder, found no config.json; "
        "runs in runs: new, old, running\n"
    )


@pytest.mark.parametrize("run_dir", ["newest", "elsewhere/newest"])
def test_without_runs_beside_a_missing_one_those_in_the_folder_runs_are_listed(
    run_dir, run_folders
):
    """A common slip is to leave out the folder."""
    with pytest.raises(UserError, match="found no config.json; runs in runs: new, old, running$"):
        shakespeare_gen.load_generator(run_dir)


def test_commands_that_accept_several_runs_say_so():
    for verb in ("generate", "evaluate", "compare"):
        assert "several are separated by commas" in " ".join(run(verb, "--help").stdout.split())


# make


@pytest.fixture
def make(tmp_path):
    """Runs `make` with a fake Python, and returns the commands that it was asked to run."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    (tmp_path / "setup.py").touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / "installed").touch()

    def make(*arguments):
        done = subprocess.run(
            ["make", "-s", *arguments], capture_output=True, check=True, cwd=tmp_path, text=True
        )
        return re.findall(r"shakespeare_gen\.(\w+) (?:.*(--run_dir=\S*))?", done.stdout)

    return make


def test_make_generate_never_trains(make):
    """It once trained flags/quick.cfg under the name of another recipe's run."""
    assert make("generate") == [("generate", "--run_dir=")]
    assert make("generate", "RUN=runs/other") == [("generate", "--run_dir=runs/other")]
    assert make("train") == [("train", "")]


def test_make_help_is_aligned():
    done = subprocess.run(["make", "-s", "help"], capture_output=True, cwd=REPOSITORY, text=True)
    lines = done.stdout.splitlines()
    assert len({re.match(r"[a-z-]+ +", line).end() for line in lines}) == 1
    assert {"help", "bench-generate"} <= {line.split()[0] for line in lines}


# Python


def test_the_package_lists_its_public_names_without_importing_anything():
    code = (
        "import sys; import shakespeare_gen; print(*dir(shakespeare_gen))\n"
        "print({'numpy', 'absl', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    names, heavy = done.stdout.splitlines()
    assert set(names.split()) == {*shakespeare_gen.__all__, "__version__"}
    assert heavy == "set()"


@pytest.mark.parametrize(
    ("function", "option", "meant"),
    [
        (shakespeare_gen.train_model, "unit", "units"),
        (shakespeare_gen.load_generator, "enginee", "engine"),
        (shakespeare_gen.evaluate_run, "protocoll", "protocol"),
    ],
)
def test_a_misspelt_option_is_answered_with_the_right_one(function, option, meant):
    with pytest.raises(shakespeare_gen.UsageError) as error:
        function(**{option: 1})
    assert str(error.value) == f"unknown option {option!r}; did you mean `{meant}`?"


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_function_has_the_options_of_its_command(verb):
    function = {"train": "train_model", "evaluate": "evaluate_run"}[verb]
    parameters = inspect.signature(getattr(shakespeare_gen, function)).parameters
    fields = fields_by_name(importlib.import_module(VERBS[verb].module).groups())
    assert parameters.keys() == fields.keys() | {"text"}  # a text has no flag
    for name, field in fields.items():
        assert parameters[name].default == field.default


# Training


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (500, "steps_per_epoch=500: a pass over the text, and so an epoch, has only 3"),
        (2, "steps_per_epoch=2: an epoch is part of a pass over the text, which has 3"),
        (3, ""),
        (0, ""),
    ],
)
def test_the_log_says_how_steps_per_epoch_relates_to_the_text(steps, message, tmp_path, caplog):
    (tmp_path / "text.txt").write_text("ab" * 70, "utf-8")
    options = Options.parse(
        train.groups(),
        {
            **{"corpus": tmp_path / "text.txt", "run_dir": tmp_path / "run"},
            **{"window_chars": 10, "batch_size": 4, "steps_per_epoch": steps},
        },
    )
    with caplog.at_level("INFO", "absl"), preparation.prepared(options):
        pass
    assert [r for r in caplog.messages if "steps_per_epoch" in r] == [message] * bool(message)


# Import time


def test_a_command_imports_only_what_it_needs(run_folders):
    (run_folders / "text.txt").write_text("To be, or not to be.\n" * 50, "utf-8")
    commands = [
        *([verb, "--help"] for verb in VERBS),
        ["train", "--corpus=nowhere.txt"],
        ["train", "--unit=3"],
        ["generate", "--run_dir=runs/new", "--length=3"],
        ["generate", "--run_dir=runs/missing"],
        ["evaluate", "--run_dir=runs/missing"],
        ["compare", "--run_dir=runs/missing"],
        ["describe", "--corpus=text.txt"],
    ]
    for done in forked_commands.run(commands, cwd=run_folders):
        assert "shakespeare_gen" in done.modules, done.stderr
        assert not done.modules & set(HEAVY), done.arguments
        if done.arguments[1:] == ["--help"]:
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith(f"usage: {done.arguments[0]} ")


def test_a_comparison_imports_no_tensorflow(run_folders):
    [done] = forked_commands.run([["compare", "--run_dir=runs/new,runs/old"]], cwd=run_folders)
    assert "matplotlib" in done.modules
    assert not done.modules & {"tensorflow", "keras"}
