"""Studies: the search space, trials as run folders, budgets, continuation, results, workers."""

import functools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import optuna
import pytest

import shakespeare_gen
from shakespeare_gen import compare, train, tune
from shakespeare_gen.errors import Interrupted, NotFiniteError, UsageError, UserError
from shakespeare_gen.options import Options, recipes
from shakespeare_gen.options.groups import TrainingOptions, TuneOptions
from shakespeare_gen.runs import Run, RunFolder, open_run, write_spec
from shakespeare_gen.tuning import attempts, results, space, storage, study
from tests import fake_runs
from tests.conftest import REPOSITORY

SPACE = {"units": {"low": 8, "high": 32, "step": 8}, "dropout": {"choices": [0.0, 0.5]}}
SMALL = {"embedding_size": 4, "window_chars": 16, "batch_size": 8, "sample_every_epochs": 0}


def parsed(tmp_path, **values):
    """The options of a study in `tmp_path`."""
    space_path = tmp_path / "space.json"
    if not space_path.exists():
        space_path.write_text(json.dumps(SPACE), "utf-8")
    defaults = {"study_dir": str(tmp_path / "study"), "space": str(space_path)}
    return Options.parse(tune.groups(), {**defaults, "pruner": "none", "epochs": 3, **values})


def loss_of(options):
    """A loss that is lowest with 24 units and no dropout."""
    values = options.by_name()
    return 1 + abs(values["units"] - 24) / 100 + values["dropout"] + values["seed"] / 1000


class FakeTraining:
    """Writes run folders instead of training; `fail` maps the number of a call to an error."""

    def __init__(self, fail=()):
        self.fail, self.calls = dict(fail), []

    def __call__(self, options, reason_to_stop):
        values = options.by_name()
        self.calls.append(values)
        if error := self.fail.get(len(self.calls)):
            raise error
        own = {name: values[name] for name in ("units", "dropout", "seed", "epochs")}
        run = Run(RunFolder(values["run_dir"]), fake_runs.make_spec(**own))
        run.folder.make()
        write_spec(run.folder, run.spec)
        loss, stopped_by = loss_of(options), ""
        for epoch in range(1, values["epochs"] + 1):
            run.folder.append_metrics(row_of(epoch, loss + 1 / epoch))
            stopped_by = stopped_by or reason_to_stop(run)
            if stopped_by:
                break
        card = {"status": "finished", "losses": {"validation": loss}, "stopped_by": stopped_by}
        run.folder.card_path.write_text(json.dumps(card), "utf-8")
        return open_run(run.path)


def row_of(epoch, loss):
    row = {"epoch": epoch, "step": 7 * epoch, "loss": loss, "loss_bits_per_character": loss}
    row |= {"validation_loss": loss, "validation_loss_bits_per_character": loss}
    return row | {"learning_rate": 0.01, "characters_per_second": 100, "seconds": 1.0}


def run_study(options, training):
    """Runs a study with a fake training; returns its outcome."""
    with storage.opened(options[TuneOptions]) as place:
        plan = study.plan(place.study(), options)
        study.run(place, plan, options[TuneOptions], training)
        return results.outcome(place.study(), plan)


# The search space


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "expected an object of flags, received []"),
        ({"unit": {"low": 1, "high": 2}}, "unknown flag 'unit'; did you mean `units`?"),
        ({"units": 3}, "units: expected low and high, with log or step, or choices; received 3"),
        ({"units": {"low": 1}}, "units: expected low and high"),
        ({"units": {"low": 0, "high": 9}}, "units: expected at least 1, received 0"),
        ({"units": {"low": 1, "high": 10**6}}, "units: expected at most 16384, received 1000000"),
        ({"units": {"low": 1.5, "high": 3}}, "units: expected low to be an integer, received 1.5"),
        ({"units": {"low": 9, "high": 3}}, "units: expected low <= high, received 9 and 3"),
        ({"dropout": {"low": 0, "high": 1}}, "dropout: expected less than 1, received 1.0"),
        ({"dropout": {"low": 0, "high": 0.5, "log": True}}, "dropout: expected log to be true"),
        ({"dropout": {"low": 0, "high": 0.5, "step": 0}}, "dropout: expected step > 0"),
        ({"cell": {"low": 0, "high": 1}}, "cell: expected choices, because it is not a number"),
        ({"cell": {"choices": ["lstn"]}}, "cell: expected one of lstm, gru,"),
        ({"cell": {"choices": []}}, "cell: expected a list of choices, received []"),
        ({"cell": {"choices": ["gru", "gru"]}}, "cell: expected different choices"),
        ({"seed": {"low": 0, "high": 3}}, "seed: expected other flags; `seeds` averages"),
        ({"num_heads": {"low": 1, "high": 3}}, "num_heads: expected a flag that affects"),
    ],
)
def test_a_mistake_in_a_space_is_one_line_that_names_the_flag(value, message):
    with pytest.raises(UsageError) as error:
        space.Space(value, Options.parse(train.groups()), "space=x.json")
    assert str(error.value).startswith(f"space=x.json: {message}")


def test_a_space_is_checked_together_with_the_other_flags():
    base = Options.parse(train.groups(), {"carry_state": True})
    with pytest.raises(UsageError, match="window_stride: expected 0 with `carry_state`"):
        space.Space({"window_stride": {"low": 50, "high": 90}}, base, "space")


@pytest.mark.parametrize("name", recipes.names(recipes.SPACE))
@pytest.mark.parametrize("value", ["{}", "flags/spaces/{}.json"])
def test_a_space_that_ships_is_found_by_its_name(name, value):
    found = space.read(value.format(name), Options.parse(train.groups()))
    assert found.dimensions


def test_an_unknown_space_is_reported_with_those_that_exist():
    with pytest.raises(UsageError, match="space=lstn`: expected a file or a search space; did you"):
        space.read("lstn", Options.parse(train.groups()))


def test_a_grid_has_every_combination_once():
    found = space.Space(SPACE, Options.parse(train.groups()), "space").grid()
    assert sorted((p["units"], p["dropout"]) for p in found) == [
        (units, dropout) for units in (8, 16, 24, 32) for dropout in (0.0, 0.5)
    ]


def test_a_grid_needs_a_finite_space():
    base = Options.parse(train.groups())
    endless = space.Space({"learning_rate": {"low": 0.1, "high": 0.2}}, base, "space")
    with pytest.raises(UsageError, match="learning_rate: expected choices, or a step without log"):
        endless.grid()


# Trials


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_study_finds_the_best_options(tmp_path, sampler):
    training = FakeTraining()
    found = run_study(parsed(tmp_path, trials=20, sampler=sampler), training)
    assert [t.name for t in found.trials] == [f"trial-{i:04d}" for i in range(20)]
    assert dict(found.best.values) == {"units": 24, "dropout": 0.0}
    assert found.best.loss == pytest.approx(1.0)
    assert set(found.importances) == set(SPACE)
    assert sum(found.importances.values()) == pytest.approx(1)
    assert len({(c["units"], c["dropout"]) for c in training.calls}) > 4


@pytest.mark.parametrize("pruner", ["none", "hyperband"])
def test_a_grid_ends_when_all_combinations_are_trained(tmp_path, pruner):
    options = parsed(tmp_path, trials=50, sampler="grid", pruner=pruner)
    found = run_study(options, FakeTraining())
    points = {(t.values["units"], t.values["dropout"]) for t in found.trials}
    assert len(found.trials) == len(points) == 8


def test_a_trial_is_the_mean_over_seeds(tmp_path):
    found = run_study(parsed(tmp_path, trials=2, seeds=(0, 4)), FakeTraining())
    folders = sorted(path.name for path in (tmp_path / "study").glob("trial-*"))
    assert folders == [f"trial-000{i}-seed-{seed}" for i in (0, 1) for seed in (0, 4)]
    losses = [
        open_run(tmp_path / "study" / f"trial-0000-seed-{s}").losses["validation"] for s in (0, 4)
    ]
    assert found.trials[0].loss == pytest.approx(sum(losses) / 2)
    assert found.trials[0].deviation == pytest.approx(abs(losses[0] - losses[1]) / 2**0.5)


def test_a_trial_that_fails_is_counted_and_the_study_goes_on(tmp_path):
    training = FakeTraining({2: NotFiniteError("the loss became nan"), 3: MemoryError("out of it")})
    found = run_study(parsed(tmp_path, trials=5), training)
    assert found.counts() == {"complete": 3, "failed": 2}
    assert found.trials[1].error == "NotFiniteError: the loss became nan"
    assert found.trials[2].error == "MemoryError: out of it"


def test_an_error_of_the_first_trial_ends_the_study(tmp_path):
    """With a wrong corpus, thirty trials once failed in a second."""
    with pytest.raises(UserError, match="no such corpus"):
        run_study(parsed(tmp_path), FakeTraining({1: UserError("no such corpus")}))
    found = run_study(parsed(tmp_path, trials=2), FakeTraining())
    assert [(t.name, t.state) for t in found.trials] == [
        ("trial-0000", "complete"),
        ("trial-0001", "complete"),
    ]


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_bad_trials_are_pruned(tmp_path, pruner):
    options = parsed(tmp_path, trials=20, pruner=pruner, epochs=9, sampler="random")
    found = run_study(options, FakeTraining())
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    assert all(trial.epochs < 9 for trial in pruned)
    assert open_run(tmp_path / "study" / pruned[0].name).stopped_by == "pruning"
    assert found.best.state == "complete"


def test_a_run_that_takes_too_long_ends_with_its_epoch(tmp_path):
    options = parsed(tmp_path, trials=2, trial_minutes=1e-9)
    found = run_study(options, FakeTraining())
    assert [(t.state, t.epochs) for t in found.trials] == [("complete", 1)] * 2


# Budgets and continuation


def test_a_study_is_continued_with_its_own_flags(tmp_path):
    run_study(parsed(tmp_path, trials=2, beta_2=0.9), FakeTraining())
    training = FakeTraining()
    found = run_study(parsed(tmp_path, trials=3, space=""), training)
    assert [call["beta_2"] for call in training.calls] == [0.9]
    assert found.counts() == {"complete": 3}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beta_2": 0.5}, "beta_2: expected 0.9, as in the study, received 0.5; or choose"),
        ({"epochs": 7}, "epochs: expected 3, as in the study, received 7"),
        ({"seeds": (1, 2)}, r"seeds: expected \(\), as in the study, received \(1, 2\)"),
        ({"space": "lstm"}, "space=lstm: expected the search space of the study"),
    ],
)
def test_a_study_keeps_its_flags(tmp_path, values, message):
    run_study(parsed(tmp_path, trials=1, beta_2=0.9), FakeTraining())
    with pytest.raises(UsageError, match=message):
        run_study(parsed(tmp_path, **values), FakeTraining())


def test_a_new_study_needs_a_space(tmp_path):
    with pytest.raises(UsageError, match="space: expected a search space for a new study"):
        tune.main(parsed(tmp_path, space="", trials=0))
    assert not (tmp_path / "study").exists()


def test_an_interrupted_trial_is_continued_with_its_options(tmp_path):
    stop = Interrupted(signal.SIGTERM, "interrupted")
    training = FakeTraining({2: stop})
    with pytest.raises(Interrupted):
        run_study(parsed(tmp_path, trials=3), training)
    found = run_study(parsed(tmp_path, trials=3), training)
    assert found.counts() == {"complete": 3}
    assert [pathlib.Path(call["run_dir"]).name[-1] for call in training.calls] == list("0112")
    first, second = training.calls[1:3]
    assert [first[name] for name in SPACE] == [second[name] for name in SPACE]


def test_the_time_of_the_command_ends_a_trial_that_can_be_continued(tmp_path):
    options = parsed(tmp_path, trials=2, max_hours=0.02 / 3600)
    found = run_study(options, functools.partial(slow, FakeTraining()))
    assert found.counts() == {"waiting": 1}
    run = open_run(tmp_path / "study" / "trial-0000")
    assert (run.stopped_by, len(run.metrics())) == ("max_hours", 1)


def slow(training, options, reason_to_stop):
    time.sleep(0.05)
    return training(options, reason_to_stop)


def test_a_trial_of_a_killed_worker_is_tried_again(tmp_path):
    """A worker that dies leaves a running trial and the lock file, which nobody holds."""
    options = parsed(tmp_path, trials=2)
    with storage.opened(options[TuneOptions]) as place:
        lost = place.study()
        study.plan(lost, options)
        trial = lost.ask()
        values = space.read(options[TuneOptions].space, Options.parse(train.groups())).suggest(
            trial
        )
        trial.set_user_attr("worker", "123-killed")
    (tmp_path / "study" / ".workers").mkdir(exist_ok=True)
    (tmp_path / "study" / ".workers" / "123-killed").touch()
    training = FakeTraining()
    found = run_study(options, training)
    assert found.counts() == {"complete": 2}
    assert {name: training.calls[0][name] for name in SPACE} == values
    assert not (tmp_path / "study" / ".workers").exists()


@pytest.mark.parametrize("epochs", [0, 3])
def test_a_worker_that_was_taken_for_killed_goes_on(tmp_path, epochs):
    """Others took its trial over, before its first report or after its last one."""
    options, training = parsed(tmp_path, trials=2), FakeTraining()

    def give_up():
        with storage.opened(options[TuneOptions]) as place:
            other = place.study()
            other.tell(0, state=optuna.trial.TrialState.FAIL)
            attempts.retry(other, 0)

    def paused(own, reason_to_stop):
        is_first = not training.calls
        if is_first and epochs == 0:
            give_up()
        run = training(own, reason_to_stop)
        if is_first and epochs:
            give_up()
        return run

    found = run_study(options, paused)
    assert found.counts() == {"complete": 2}
    assert [path["run_dir"][-1] for path in training.calls] == ["0", "0", "1"]


# Results


def test_the_results_are_a_page_a_recipe_and_a_table(tmp_path, capsys):
    run_study(
        parsed(tmp_path, trials=12, carry_state=True, epochs=4), FakeTraining({3: MemoryError()})
    )
    tune.main(parsed(tmp_path, trials=0, epochs=4))
    table = capsys.readouterr().out
    assert re.search(r"Study study: 11 complete, 1 failed", table)
    assert re.search(r"^trial-\d{4} +\d\.\d{3} +4 +0\.1 +\d+ ", table, re.MULTILINE)
    page = (tmp_path / "study" / "study.html").read_text("utf-8")
    assert page.count("<svg") == 2 + len(SPACE)
    assert not re.search(r'(src|href)="(?!#)', page)
    found = json.loads((tmp_path / "study" / "study.json").read_text("utf-8"))
    assert len(found["trials"]) == 12
    flags = recipes.expanded([f"--flagfile={tmp_path / 'study' / 'best.cfg'}"])
    assert {"--carry_state", "--epochs=4", f"--run_dir={tmp_path / 'study' / 'best'}"} < set(flags)
    best = next(trial for trial in found["trials"] if trial["name"] == found["best"])
    assert f"--units={best['values']['units']}" in flags


def test_the_results_are_shown_without_a_trial(tmp_path, capsys):
    tune.main(parsed(tmp_path, trials=0))
    assert "Study study: no trials" in capsys.readouterr().out
    assert not (tmp_path / "study" / "best.cfg").exists()
    assert "No trial is complete yet" in (tmp_path / "study" / "study.html").read_text("utf-8")


def test_compare_lists_the_trials_of_a_study(tmp_path, capsys):
    run_study(parsed(tmp_path, trials=3), FakeTraining())
    compare.main(Options.parse(compare.groups(), {"run_dir": str(tmp_path / "study")}))
    table = capsys.readouterr().out
    assert all(f"trial-000{i}" in table for i in range(3))


def test_the_password_of_a_database_is_not_shown(tmp_path):
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/none"
    with pytest.raises(UserError, match="storage=.*cannot be used: ") as error:
        tune.main(parsed(tmp_path, storage=url))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", ["nonsense", "nosuch://me@host/db"])
def test_a_wrong_url_of_a_database_is_one_line(tmp_path, url):
    with pytest.raises(UserError, match="storage: expected the URL of a database, such as"):
        tune.main(parsed(tmp_path, storage=url))


# Real runs


@pytest.fixture
def text_path(small_text, tmp_path):
    path = tmp_path / "small.txt"
    path.write_text(small_text, encoding="utf-8")
    return path


@pytest.fixture
def command(text_path, tmp_path):
    """The command of a study of small runs."""
    parsed(tmp_path)  # writes the space
    flags = {**SMALL, "corpus": text_path, "space": tmp_path / "space.json", "epochs": 2}
    return [sys.executable, "-m", "shakespeare_gen.tune"] + [
        f"--{name}={value}" for name, value in flags.items()
    ]


def environment():
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.mark.slow
def test_a_study_of_real_runs_stops_with_a_signal_and_continues(command, tmp_path):
    command += [f"--study_dir={tmp_path / 'study'}", "--trials=3", "--epochs=3"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(), stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if line.startswith("trial 1: --"):
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    continuation = f"python -m shakespeare_gen.tune --study_dir={tmp_path / 'study'} --trials=3"
    assert errors.splitlines()[-1].endswith(f"continue with: {continuation}")
    tune.main(Options.parse(tune.groups(), {"study_dir": str(tmp_path / "study"), "trials": 3}))
    found = json.loads((tmp_path / "study" / "study.json").read_text("utf-8"))
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 3
    run = shakespeare_gen.train_model(
        **options_in(tmp_path / "study" / "best.cfg") | {"run_dir": tmp_path / "again"}
    )
    best = next(trial for trial in found["trials"] if trial["name"] == found["best"])
    assert run.losses["validation"] == pytest.approx(best["loss"], abs=1e-6)
    assert run.spec.options[TrainingOptions].epochs == 3


def options_in(path):
    """The options of a recipe, read by the command itself."""
    code = (
        f"import sys; sys.argv = ['train', '--flagfile={path}']\n"
        "from shakespeare_gen import train\n"
        "from shakespeare_gen.options import command_line\n"
        "command_line.run(lambda options: print(options.non_defaults()), *train.groups())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return dict(eval(done.stdout))


@pytest.mark.slow
def test_workers_in_parallel_share_a_study(command, tmp_path):
    command += [f"--study_dir={tmp_path / 'study'}", "--trials=4", "--num_parallel=2"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment(), capture_output=True, check=True, text=True
    )
    assert done.stdout.count("Study study: 4 complete") == 1
    assert {f"worker {n}" for n in (1, 2)} == set(re.findall(r"worker \d", done.stderr))


# PostgreSQL

SERVERS = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.fixture
def database(tmp_path):
    """The URL of an empty database of a server of its own."""
    if not SERVERS:
        pytest.skip("PostgreSQL's server is not here: apt-get install postgresql")
    folder, bin_dir = pathlib.Path("/tmp") / f"pg-{os.getpid()}", SERVERS[-1].parent
    folder.mkdir(mode=0o700)
    as_user = []
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def call(program, *arguments):
        done = [*as_user, bin_dir / program, *arguments]
        subprocess.run(done, check=True, stdout=subprocess.DEVNULL, cwd="/")

    call("initdb", "-D", folder / "data", "-A", "trust", "-U", "tester")
    settings = f"-c listen_addresses='' -k {folder}"
    call("pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-o", settings, "start")
    try:
        yield f"postgresql+psycopg://tester@/postgres?host={folder}"
    finally:
        call("pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_killed_worker_loses_no_trial(command, database, tmp_path):
    """Three workers on a PostgreSQL server; one is killed in the middle of a trial."""
    command += [f"--study_dir={tmp_path / 'study'}", f"--storage={database}", "--trials=6"]
    command += ["--heartbeat_seconds=5", "--pruner=none"]

    def start(number):
        with open(tmp_path / f"worker-{number}.log", "w", encoding="utf-8") as log:
            return subprocess.Popen(
                command, cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE, stderr=log
            )

    workers = [start(number) for number in range(3)]
    try:
        trial = wait_for(tmp_path / "worker-0.log", r"^trial (\d+): --")
        workers[0].kill()
        outputs = [worker.communicate(timeout=600)[0].decode() for worker in workers[1:]]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.wait() for worker in workers] == [-signal.SIGKILL, 0, 0]
    assert "Study study: 6 complete" in outputs[0]
    logs = "".join((tmp_path / f"worker-{n}.log").read_text("utf-8") for n in (1, 2))
    assert f"trial {trial}: validation" in logs
    runs = sorted((tmp_path / "study").glob("trial-*"))
    assert [path.name for path in runs] == [f"trial-{i:04d}" for i in range(6)]
    assert [len(open_run(path).metrics()) for path in runs] == [2] * 6


def wait_for(path, pattern, seconds=300):
    """The first group of `pattern` in a file, as soon as it is there."""
    for _ in range(10 * seconds):
        if found := re.search(pattern, path.read_text("utf-8"), re.MULTILINE):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"{path}: expected {pattern}, found {path.read_text('utf-8')[-2000:]}")
