"""Runs that differ only in the seed: their folders and options. Does not import TensorFlow.

for own in sweep.plan(options):           # runs/x-seed-0, runs/x-seed-1, ...
    run = sweep.finished(own) or session.train(own)
"""

from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import RunOptions, StartOptions, SweepOptions
from shakespeare_gen.runs import Run, RunFolder, open_run, read_spec, resuming


def folders(options: Options) -> dict[int, RunFolder]:
    """The run folder of each seed."""
    base = options[RunOptions].run_dir.rstrip("/")
    return {seed: RunFolder(f"{base}-seed-{seed}") for seed in options[SweepOptions].seeds}


def plan(options: Options) -> list[Options]:
    """The options of one run per seed, in order.

    With `resume`, runs that have a checkpoint are resumed. The others start with the options of
    those, so that all runs of the sweep have the same.

    Raises:
      UserError: without `resume` and `overwrite`, there is a run already; with `resume`, none.
    """
    if "seed" in options.given:
        raise UsageError("`seed` and `seeds`: expected one of them, received both")
    start, found = options[StartOptions], folders(options)
    started = [folder for folder in found.values() if folder.has_checkpoint()]
    if started and not (start.resume or start.overwrite):
        raise UserError(
            f"{started[0].path}: expected no run, found one; continue the sweep with `resume`, "
            "replace its runs with `overwrite`, or choose another `run_dir`"
        )
    first_options = options
    if start.resume:
        for folder in started or found.values():
            resuming.check_can_resume(folder)
        spec = read_spec(started[0])
        saved = resuming.resumed_options(spec, options)
        first_options = options.replaced(**saved.by_name(), resume=False)
        first_options = first_options.replaced(corpus=resuming.corpus_options(spec).corpus)
    return [
        (options if folder in started and start.resume else first_options).replaced(
            seed=seed, run_dir=str(folder.path)
        )
        for seed, folder in found.items()
    ]


def finished(options: Options) -> Run | None:
    """The run of `plan` that is to be resumed, if there is nothing left to train."""
    if not options[StartOptions].resume:
        return None
    run = open_run(options[RunOptions].run_dir)
    is_changed = resuming.resumed_options(run.spec, options) != run.spec.options
    return None if is_changed or run.folder.card().get("status") != "finished" else run
