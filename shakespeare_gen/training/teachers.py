"""Trained runs whose probabilities are targets of training: knowledge distillation.

    teachers = teachers.find(options)              # None without `teachers`
    teachers.check_tokenizer(tokenizer)
    model = teachers.model("bfloat16")             # the mean of their probabilities

Knows nothing about the loss; see `model.TrainingModel`.
"""

import dataclasses

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.models import LanguageModel
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import TrainingOptions
from shakespeare_gen.runs import Run, loading
from shakespeare_gen.runs.checkpoints import Checkpoint


@dataclasses.dataclass(frozen=True)
class Teachers:
    """One or several runs, each with its best checkpoint."""

    sources: tuple[tuple[Run, Checkpoint], ...]

    @property
    def runs(self) -> list[Run]:
        """The runs."""
        return [run for run, _ in self.sources]

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Checks that their tokens are those of the run to train.

        Raises:
          UserError: they differ.
        """
        for run in self.runs:
            if run.spec.tokenizer != tokenizer:
                raise UserError(
                    f"teachers={run.name}: expected a run with the tokenizer of the corpus "
                    f"({tokenizer.size} {tokenizer.NAME}), received another "
                    f"({run.spec.tokenizer.size} {run.spec.tokenizer.NAME})"
                )

    def model(self, precision: str) -> LanguageModel:
        """Their model, or the mean of their probabilities, in TensorFlow."""
        checkpoints = [checkpoint for _, checkpoint in self.sources]
        return loading.load_model(self.runs, checkpoints, precision=precision)


def find(options: Options) -> Teachers | None:
    """The runs that `teachers` names.

    Raises:
      UserError: one of them is not there.
    """
    names = options[TrainingOptions].teachers
    return Teachers(tuple(loading.read_checkpoints(names))) if any(names) else None
