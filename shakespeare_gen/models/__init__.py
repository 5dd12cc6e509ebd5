"""Language models: one contract, one registry of families.

- `language_model`: the contract that generation, evaluation and training rely on;
- `specs`: names and shapes of weights and states, computed without TensorFlow;
- `states`: operations on the rows of the state of any model;
- `cells`: the recurrent cells, one object each; `layers`: their Keras layers;
- `recurrent`: the family Embedding, recurrent layers, Dense; `recurrent_network`: its Keras form;
- `transformer`: the family Embedding, attention and MLP layers; `transformer_network`: whole
  sequences in TensorFlow; `rotary`: positions;
- `network_options`: the options that both share;
- `ngram`: the family of n-grams; `ngram_model`: its arithmetic; `ngram_counts`: counts of a text;
- `ensemble`: several models whose probabilities are averaged;
- `loss_units`: nats, bits, perplexity.

Shapes: B batch, T time, D features, U units, G gates, V vocabulary size.

    spec = models.spec_of(65, options)             # no TensorFlow
    model = models.build(spec, precision="float32")
    logits, state = model.read(ids)                     # [B, T] -> [B, T, V]

Knows nothing about text, files or sampling. To add a family, register a `Family`:
`FAMILIES["mine"] = Family(...)`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from shakespeare_gen.models import ngram, recurrent, transformer
from shakespeare_gen.models.language_model import LanguageModel
from shakespeare_gen.models.specs import Spec
from shakespeare_gen.options import OptionGroup, Options, option

__all__ = [
    "FAMILIES",
    "Family",
    "LanguageModel",
    "ModelOptions",
    "Spec",
    "build",
    "from_arrays",
    "groups",
    "is_counted",
    "loaded",
    "spec_of",
]


@dataclasses.dataclass(frozen=True)
class Family:
    """A model family.

    Attributes:
      options: the options of the family.
      spec: `(vocabulary_size, options group) -> Spec`.
      build: `(spec, precision, kernel) -> LanguageModel`, in TensorFlow.
      from_arrays: `(spec, weights) -> LanguageModel`, in NumPy; None if there is none.
      from_tensors: the same in TensorFlow; None: `build`, then assign the weights.
      count: `(spec, ids, start_id) -> ngram.Counted`, the weights of a training text; None:
        `fit` trains the model.
    """

    options: type[OptionGroup]
    spec: Callable[[int, Any], Spec]
    build: Callable[..., LanguageModel]
    from_arrays: Callable[[Any, Mapping[str, np.ndarray]], LanguageModel] | None = None
    from_tensors: Callable[[Any, Mapping[str, np.ndarray]], LanguageModel] | None = None
    count: Callable[..., ngram.Counted] | None = None


FAMILIES: dict[str, Family] = {
    "recurrent": Family(
        recurrent.RecurrentOptions, recurrent.RecurrentSpec, recurrent.build, recurrent.from_arrays
    ),
    "transformer": Family(
        transformer.TransformerOptions,
        transformer.TransformerSpec,
        transformer.build,
        transformer.from_arrays,
    ),
    "ngram": Family(
        ngram.NGramOptions,
        ngram.NGramSpec,
        ngram.build,
        ngram.from_arrays,
        ngram.from_tensors,
        ngram.count,
    ),
}


class ModelOptions(OptionGroup):
    """The model family."""

    TITLE = "Model"

    model: str = option("recurrent", "model family", choices=FAMILIES)


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of all families."""
    return (ModelOptions, *dict.fromkeys(family.options for family in FAMILIES.values()))


def spec_of(vocabulary_size: int, options: Options) -> Spec:
    """The spec of the model that `options` describe.

    Raises:
      UserError: it has more than `specs.MAX_PARAMETERS` parameters.
    """
    family = FAMILIES[options[ModelOptions].model]
    return family.spec(vocabulary_size, options[family.options]).checked()


def is_counted(options: Options) -> bool:
    """Whether the model is trained by counting the text instead of by `fit`."""
    return FAMILIES[options[ModelOptions].model].count is not None


def build(spec: Spec, precision: str = "float32", kernel: str = "auto") -> LanguageModel:
    """A model with newly initialized weights.

    Args:
      precision: `float32` or `bfloat16`, the data type of the matrix products.
      kernel: see `options.groups.ComputeOptions`.
    """
    return FAMILIES[spec.family].build(spec, precision, kernel)


def from_arrays(spec: Spec, weights: Mapping[str, np.ndarray]) -> LanguageModel:
    """A NumPy model with the given weights; does not import TensorFlow."""
    make = FAMILIES[spec.family].from_arrays
    if make is None:
        raise NotImplementedError(f"model={spec.family}: expected a family with a NumPy form")
    return make(spec, weights)


def loaded(
    spec: Spec, weights: Mapping[str, np.ndarray], precision: str = "float32"
) -> LanguageModel:
    """A TensorFlow model with the given weights; see `build`."""
    if make := FAMILIES[spec.family].from_tensors:
        return make(spec, weights)
    model = build(spec, precision)
    for name, variable in model.weights.items():
        variable.assign(weights[name])
    return model
