"""The start of training from the weights of a run, instead of random ones.

    start = trained_start.find(options)            # None without `initialize_from`
    options = start.options(options)               # the network is that of the run
    tokenizer = start.tokenizer.extended(corpus.train, ...)
    start.assign(model, tokenizer)

Tokens that the run knows keep their weights, new ones get random weights. The optimizer starts
afresh. Knows nothing about the text.
"""

import dataclasses

import numpy as np

from shakespeare_gen import models
from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UsageError
from shakespeare_gen.models import LanguageModel
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import TrainingOptions
from shakespeare_gen.runs import Run, checkpoints, open_run
from shakespeare_gen.runs.checkpoints import Checkpoint
from shakespeare_gen.runs.spec import model_options

# Options of a model that do not affect the form of its weights.
FREE = frozenset({"dropout", "init_scale", "weight_dropout"})


@dataclasses.dataclass(frozen=True)
class TrainedStart:
    """A run and the checkpoint whose weights are the first ones of another run."""

    run: Run
    checkpoint: Checkpoint

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the run."""
        return self.run.spec.tokenizer

    def options(self, options: Options) -> Options:
        """The options of a new run, with the tokens and the network of this one.

        Raises:
          UsageError: a given option differs.
        """
        fixed = {
            "tokens": self.tokenizer.NAME,
            **{
                name: value
                for name, value in model_options(self.run.spec.options).by_name().items()
                if name not in FREE
            },
        }
        now = options.by_name()
        for name in sorted(fixed.keys() & options.given):
            if now[name] != fixed[name]:
                raise UsageError(
                    f"{name}: expected {fixed[name]!r}, as in `initialize_from={self.run.name}`, "
                    f"received {now[name]!r}"
                )
        return options.replaced(**fixed)

    def assign(self, model: LanguageModel, tokenizer: Tokenizer) -> None:
        """Replaces the new weights of `model`, except those of tokens that the run does not have.

        Args:
          tokenizer: the tokenizer of `model`.
        """
        known, found = _shared_ids(self.tokenizer, tokenizer)
        axes = _vocabulary_axes(self.run)
        for name, variable in model.weights.items():
            weights = self.checkpoint.weights[name]
            if name not in axes:
                variable.assign(weights)
                continue
            assigned = np.moveaxis(np.array(variable), axes[name], 0)
            assigned[found] = np.moveaxis(weights, axes[name], 0)[known]
            variable.assign(np.moveaxis(assigned, 0, axes[name]))


def find(options: Options) -> TrainedStart | None:
    """The run that `initialize_from` names.

    Raises:
      UserError: there is no such run.
      UsageError: its model is not a network.
    """
    name = options[TrainingOptions].initialize_from
    if not name:
        return None
    run = open_run(name)
    if models.is_counted(run.spec.options):
        raise UsageError(
            f"initialize_from={name}: expected a network, found "
            f"model={run.spec.model_spec.family}, which is counted"
        )
    return TrainedStart(run, checkpoints.read(run, "best"))


def _vocabulary_axes(run: Run) -> dict[str, int]:
    """By weight, the axis whose length is the size of the vocabulary."""
    size, options = run.spec.tokenizer.size, run.spec.options
    shapes, larger = (models.spec_of(n, options).weight_shapes() for n in (size, size + 1))
    return {
        name: axis
        for name, shape in shapes.items()
        for axis, length in enumerate(shape)
        if larger[name][axis] != length
    }


def _shared_ids(old: Tokenizer, new: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids of the tokens that both tokenizers have: the old ones, and the new ones."""
    new_ids = {new.label(i): i for i in range(new.size)}
    pairs = [(i, new_ids[old.label(i)]) for i in range(old.size) if old.label(i) in new_ids]
    known, found = zip(*pairs, strict=True) if pairs else ((), ())
    return list(known), list(found)
