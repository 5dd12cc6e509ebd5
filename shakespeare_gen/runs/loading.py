"""Loads a generator from the checkpoints of one or several runs.

    generator = load_generator("runs/quick")
    generator.generate("ROMEO:", length=200)[0].text

With `engine="auto"` on a CPU, the generator starts in NumPy without importing TensorFlow, which it
loads for the first large request; see `generation.Generator`.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from shakespeare_gen import models, pretrained
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.generation import Generator
from shakespeare_gen.models import LanguageModel, loss_units
from shakespeare_gen.models.ensemble import Ensemble
from shakespeare_gen.options import OptionGroup, Options, signatures
from shakespeare_gen.options.groups import EngineOptions, LoadOptions, SavedRunsOptions
from shakespeare_gen.runs import checkpoints, finding
from shakespeare_gen.runs.checkpoints import Checkpoint
from shakespeare_gen.runs.run import Run, open_run, split_paths
from shakespeare_gen.system import devices

GROUPS: tuple[type[OptionGroup], ...] = (SavedRunsOptions, LoadOptions, EngineOptions)


@signatures.typed(GROUPS)
def load_generator(
    run_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "", **options: Any
) -> Generator:
    """Loads a generator from a checkpoint of one or several runs.

    Args:
      {options}

    Raises:
      UsageError: an option is unknown or out of bounds.
      UserError: there is no intact run, or the runs have different tokenizers.
    """
    parsed = Options.parse(GROUPS, {"run_dir": run_dir, **options})
    found = read_checkpoints(parsed[SavedRunsOptions].run_dir, parsed[LoadOptions].checkpoint)
    return generator_of(found, parsed[EngineOptions].engine)


def read_checkpoints(
    run_dir: Sequence[str], checkpoint: str = "best"
) -> list[tuple[Run, Checkpoint]]:
    """The runs of `load_generator`, each with the checkpoint that is loaded.

    Raises:
      UserError: there is no intact run.
    """
    return [
        (run, checkpoints.read(run, checkpoint))
        for run in [open_run(path) for path in _paths(run_dir)]
    ]


def _paths(run_dir: Sequence[str]) -> list[str]:
    return split_paths(finding.chosen(run_dir, pretrained.DEFAULT))


def generator_of(
    sources: Sequence[tuple[Run, Checkpoint]], engine: str = "auto", single_stream: bool = False
) -> Generator:
    """A generator that averages the models of one or several checkpoints.

    Args:
      engine: see `options.groups.EngineOptions`.
      single_stream: see `system.devices.start`; has no effect if TensorFlow is already running.

    Raises:
      UserError: the runs have different tokenizers.
    """
    every, found = [run for run, _ in sources], [checkpoint for _, checkpoint in sources]
    check_tokenizers(every)
    _check_engine(engine, every)
    if engine == "auto" and (devices.has_gpu() or _without_numpy_form(every)):
        engine = "tensorflow"

    def in_tensorflow() -> LanguageModel:
        return load_model(every, found, single_stream)

    model = in_tensorflow() if engine == "tensorflow" else _in_numpy(every, found)
    for run, read in zip(every, found, strict=True):
        _log_checkpoint(run, read)
    for_large = in_tensorflow if engine == "auto" else None
    return Generator(model, every[0].spec.tokenizer, for_large)


def _in_numpy(every: Sequence[Run], found: Sequence[Checkpoint]) -> LanguageModel:
    loaded = [
        models.from_arrays(run.spec.model_spec, read.weights)
        for run, read in zip(every, found, strict=True)
    ]
    return loaded[0] if len(loaded) == 1 else Ensemble(loaded, np)


def load_model(
    every: Sequence[Run],
    found: Sequence[Checkpoint],
    single_stream: bool = False,
    precision: str = "float32",
) -> LanguageModel:
    """The model of a run, or the ensemble of several, in TensorFlow; see `load_generator`."""
    devices.start(single_stream)
    import tensorflow.experimental.numpy as tnp

    pairs = zip(every, found, strict=True)
    loaded = [checkpoints.load_model(run, read, precision) for run, read in pairs]
    return loaded[0] if len(loaded) == 1 else Ensemble(loaded, tnp)


def _without_numpy_form(every: Sequence[Run]) -> list[str]:
    """The model families of `every` that are not computed in NumPy."""
    families = [run.spec.model_spec.family for run in every]
    return [family for family in families if models.FAMILIES[family].from_arrays is None]


def _check_engine(engine: str, every: Sequence[Run]) -> None:
    families = _without_numpy_form(every)
    if engine == "numpy" and families:
        raise UsageError(
            f"engine=numpy: expected a model that has a NumPy form, found model={families[0]}; "
            "try `engine=tensorflow`"
        )


def check_tokenizers(every: Sequence[Run]) -> None:
    """Checks that the runs can be combined: that their tokenizers are equal."""
    first, *others = every
    for run in others:
        kinds = [each.spec.tokenizer.NAME for each in (first, run)]
        if len(set(kinds)) > 1:
            raise UserError(
                f"run_dir: expected runs with the same tokens, received {first.name} with "
                f"{kinds[0]} and {run.name} with {kinds[1]}"
            )
        if run.spec.tokenizer != first.spec.tokenizer:
            raise UserError(
                f"run_dir: expected runs with the same tokenizer, received different ones: "
                f"{_only_in(first, run)}; {_only_in(run, first)}"
            )


def _only_in(run: Run, other: Run) -> str:
    """How the tokenizer of `run` differs from that of `other`."""
    here, there = (
        {r.spec.tokenizer.label(i) for i in range(r.spec.tokenizer.size)} for r in (run, other)
    )
    only = sorted(here - there)
    return (
        f"{run.name} has {run.spec.tokenizer.size} {run.spec.tokenizer.NAME}, "
        f"{len(only)} of them not in the other: {only[:20]!r}"
    )


def _log_checkpoint(run: Run, checkpoint: Checkpoint) -> None:
    loss = checkpoint.progress.best_validation_loss
    best = "" if loss is None else f"; best validation loss {loss_units.describe(loss)}"
    logging.info("%s: %s%s", run.name, checkpoint.place.name, best)
