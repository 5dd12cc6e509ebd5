"""What is exported: the models of one or several runs, their weights and their tokenizer.

    subject = Subject.of(loading.read_checkpoints(["runs/quick"]))
    subject.model().step(ids, state)

Does not import TensorFlow. Knows nothing about formats.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from shakespeare_gen import __version__, models
from shakespeare_gen.data import tokenizers
from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.exporting import tracing
from shakespeare_gen.models import LanguageModel, states
from shakespeare_gen.models.ensemble import Ensemble
from shakespeare_gen.runs import Run, loading
from shakespeare_gen.runs.checkpoints import Checkpoint
from shakespeare_gen.runs.spec import model_options


@dataclasses.dataclass(frozen=True)
class Subject:
    """The models of `runs`, as of `checkpoints`; several are an ensemble."""

    runs: tuple[Run, ...]
    checkpoints: tuple[Checkpoint, ...]

    @classmethod
    def of(cls, sources: Sequence[tuple[Run, Checkpoint]]) -> "Subject":
        """The subject of the result of `loading.read_checkpoints`.

        Raises:
          UserError: the runs have different tokenizers.
        """
        every, found = zip(*sources, strict=True)
        loading.check_tokenizers(every)
        return cls(tuple(every), tuple(found))

    @property
    def name(self) -> str:
        """The names of the runs, without their folders."""
        return " + ".join(run.path.name for run in self.runs)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that all runs have."""
        return self.runs[0].spec.tokenizer

    @property
    def specs(self) -> tuple[models.Spec, ...]:
        """The spec of each model."""
        return tuple(run.spec.model_spec for run in self.runs)

    @functools.cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """Every weight by name; with several models, after the index of its model."""
        return dict(self.model().weights)

    def model(self, dtype: str = "float32") -> LanguageModel:
        """The model in NumPy, computed in `dtype`."""
        found = [
            models.from_arrays(spec, _as_type(checkpoint.weights, dtype))
            for spec, checkpoint in zip(self.specs, self.checkpoints, strict=True)
        ]
        return found[0] if len(found) == 1 else Ensemble(found, np)

    def tensorflow_model(self) -> LanguageModel:
        """The model in TensorFlow."""
        return loading.load_model(self.runs, self.checkpoints)

    @functools.cached_property
    def state_names(self) -> tuple[str, ...]:
        """A name for each array of a state, such as `lstm_1_h`."""
        names = [spec.state_names() for spec in self.specs]
        if len(names) == 1:
            return tuple(names[0])
        return tuple(f"model_{i}_{name}" for i, own in enumerate(names, 1) for name in own)

    @property
    def is_counted(self) -> bool:
        """Whether it is one model that was counted instead of trained."""
        [spec, *others] = self.specs
        return not others and models.FAMILIES[spec.family].count is not None

    def check_is_network(self) -> None:
        """Raises `UserError` unless all models are neural networks."""
        for run, spec in zip(self.runs, self.specs, strict=True):
            if models.FAMILIES[spec.family].count:
                fitting = ("numpy", "safetensors", "hub") if self.is_counted else ()
                named = ", ".join(f"`format={name}`" for name in (*fitting, "saved_model"))
                raise UserError(
                    f"run_dir={run.name}: expected a neural network, found model={spec.family}; "
                    f"for it there is {named}"
                )

    def check_has_code(self) -> None:
        """Raises `UserError` unless all models are neural networks, or one is counted."""
        if not self.is_counted:
            self.check_is_network()

    def trace(self) -> tracing.Trace:
        """One step of the model, operation by operation.

        Raises:
          UserError: a model is computed otherwise.
        """
        self.check_is_network()
        model = self.model()
        state = model.initial_state(tracing.BATCH_SIZE)
        return tracing.trace(model.step_function, model.step_weights(), state, self.state_names)

    def config(self, format: str, quantize: str) -> dict[str, Any]:
        """What `config.json` of an export says, as JSON values."""
        tokenizer = self.tokenizer
        state = states.flatten(self.model().initial_state(1))
        return {
            "exported_by": f"shakespeare_gen {__version__}",
            "format": format,
            "quantize": quantize,
            "models": [
                {
                    "run": run.path.name,
                    "checkpoint": checkpoint.place.name,
                    "options": model_options(run.spec.options).by_name(),
                    "corpus": run.spec.corpus.title,
                    "corpus_sha256": run.spec.corpus.sha256,
                    "losses": run.losses,
                }
                for run, checkpoint in zip(self.runs, self.checkpoints, strict=True)
            ],
            "vocabulary_size": tokenizer.size,
            "start_id": tokenizer.start_id,
            "end_id": tokenizer.end_id,
            "forbidden_ids": list(tokenizer.forbidden_ids),
            "weights": {name: list(weight.shape) for name, weight in self.weights.items()},
            "state": [
                {
                    "name": name,
                    "shape": ["batch", *array.shape[1:]],
                    "dtype": array.dtype.name,
                    "initial": int(array.flat[0]) if array.size else 0,
                }
                for name, array in zip(self.state_names, state, strict=True)
            ],
        }

    def tokenizer_json(self) -> dict[str, Any]:
        """The tokenizer as JSON values."""
        return tokenizers.to_json(self.tokenizer)


def _as_type(weights: dict[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """The weights with those of type float32 in another type."""
    return {n: w.astype(dtype) if w.dtype == np.float32 else w for n, w in weights.items()}
