"""The definition of a run: its options, tokenizer and corpus, as one immutable value.

Knows nothing about files, checkpoints or training, and does not import TensorFlow.

    spec = RunSpec(saved_options(options), tokenizer, CorpusFacts.of(corpus, "book.txt"))
    spec.model_spec.num_parameters
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from shakespeare_gen import models
from shakespeare_gen.data import tokenizers
from shakespeare_gen.data.corpora import CorpusIdentity
from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.options import OptionGroup, Options
from shakespeare_gen.options.groups import (
    ComputeOptions,
    CorpusOptions,
    OptimizerOptions,
    TrainingOptions,
    WindowOptions,
)
from shakespeare_gen.system import storage


@dataclasses.dataclass(frozen=True)
class CorpusFacts:
    """The text of a run, identified by its hash.

    Attributes:
      name: the loaded corpus.
      requested: the option `corpus`; differs from `name` if the fallback was used.
      sha256: see `data.corpora.Corpus.sha256`.
      path: the absolute path of text files; empty for any other source.
    """

    name: str
    requested: str
    sha256: str
    train_chars: int
    validation_chars: int
    test_chars: int
    path: str = ""

    @classmethod
    def of(cls, corpus: CorpusIdentity, requested: str) -> "CorpusFacts":
        """The facts of a loaded corpus; `requested` is the option `corpus`."""
        return cls(
            name=corpus.name,
            requested=requested,
            sha256=corpus.sha256,
            train_chars=corpus.num_chars("train"),
            validation_chars=corpus.num_chars("validation"),
            test_chars=corpus.num_chars("test"),
            path=corpus.path,
        )

    @property
    def title(self) -> str:
        """The name for what others read: of text files without their folders."""
        return pathlib.PurePath(self.name).name if self.path else self.name


@dataclasses.dataclass(frozen=True)
class Resumption:
    """The checkpoint that a run was resumed from, and the changed options: old and new value."""

    from_checkpoint: str
    changed: Mapping[str, tuple[Any, Any]]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        changed = {name: list(values) for name, values in self.changed.items()}
        return {"from": self.from_checkpoint, "changed": changed}


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """Everything that is fixed before a run is trained.

    Attributes:
      options: see `saved_options`.
      resumed: all resumptions so far, oldest first.
    """

    options: Options
    tokenizer: Tokenizer
    corpus: CorpusFacts
    resumed: tuple[Resumption, ...] = ()

    @functools.cached_property
    def model_spec(self) -> models.Spec:
        """The names and shapes of the weights.

        Raises:
          UserError: there are too many parameters.
        """
        return models.spec_of(self.tokenizer.size, self.options)

    @functools.cached_property
    def tokenizer_sha256(self) -> str:
        """Hash of the tokenizer; stored in every checkpoint."""
        return hashlib.sha256(storage.to_json(tokenizers.to_json(self.tokenizer))).hexdigest()


def saved_options(options: Options) -> Options:
    """The groups of `options` that a run stores.

    All groups that affect training, except those of other model families and tokenizers.
    """
    return options.only(saved_groups(options))


def model_options(options: Options) -> Options:
    """The groups of `options` that define the model; stored in every checkpoint."""
    return options.only(model_groups(options))


def saved_groups(options: Options) -> Sequence[type[OptionGroup]]:
    """The types of `saved_options`; depend on the chosen tokenizer and model family."""
    return (
        CorpusOptions,
        tokenizers.TokenOptions,
        tokenizers.TOKENIZERS[options[tokenizers.TokenOptions].tokens].OPTIONS,
        WindowOptions,
        *model_groups(options),
        ComputeOptions,
        OptimizerOptions,
        TrainingOptions,
    )


def model_groups(options: Options) -> Sequence[type[OptionGroup]]:
    """The types of `model_options`."""
    return models.ModelOptions, models.FAMILIES[options[models.ModelOptions].model].options
