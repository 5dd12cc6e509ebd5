"""What happens inside a network, for the rows of steps: gradients, updates and gates by layer.

- `gradient_norm/LAYER`: the norm of the gradient before clipping;
- `update_to_weight_ratio/LAYER`: the norm of the change of the weights divided by their norm;
- `saturation/LAYER/GATE`: the share of the values of a gate below 0.1 or above 0.9 (Karpathy,
  Johnson and Fei-Fei 2016, arXiv 1506.02078), on some windows of the training text that are the
  same at every step.

All depend only on the step, so that a resumed run logs the same values. Gates cost a small forward
pass per row. Knows nothing about files.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from shakespeare_gen.training.data import TrainingData
from shakespeare_gen.training.model import TrainingModel

NUM_WINDOWS = 4
MAX_WINDOW = 100  # tokens
LOW, HIGH = 0.1, 0.9


class Internals:
    """Computes the values of a row for a model in training."""

    def __init__(self, model: TrainingModel, data: TrainingData) -> None:
        self._layers = _layers(model)
        self._ids = tf.constant(_windows(data))
        self._saturation = tf.function(lambda ids: _saturation(model, ids), autograph=False)

    def row(
        self,
        gradient_norms: Sequence[float],
        before: Sequence[tf.Tensor],
        after: Sequence[tf.Tensor],
    ) -> dict[str, float]:
        """The values by name.

        Args:
          gradient_norms: of each trainable variable.
          before, after: the value of each trainable variable before and after the update.
        """
        found = {}
        for layer, places in self._layers.items():
            found[f"gradient_norm/{layer}"] = math.hypot(*(gradient_norms[i] for i in places))
            size = float(tf.linalg.global_norm([before[i] for i in places]))
            change = float(tf.linalg.global_norm([after[i] - before[i] for i in places]))
            found[f"update_to_weight_ratio/{layer}"] = change / size if size else math.inf
        shares = {name: float(share) for name, share in self._saturation(self._ids).items()}
        return found | {f"saturation/{gate}": share for gate, share in shares.items()}


def _layers(model: TrainingModel) -> dict[str, list[int]]:
    """The places of the trainable variables of each layer."""
    names = {id(weight): name for name, weight in model.language_model.weights.items()}
    found: dict[str, list[int]] = {}
    for i, variable in enumerate(model.trainable_variables):
        found.setdefault(names[id(variable)].split("/")[0], []).append(i)
    return found


def _windows(data: TrainingData) -> np.ndarray:
    """Windows at equal distances in the training text: [B, T]."""
    ids = data.train.ids
    size = min(MAX_WINDOW, data.plan.window_chars, len(ids))
    starts = np.linspace(0, len(ids) - size, NUM_WINDOWS).astype(int)
    return np.stack([np.asarray(ids[start : start + size], np.int32) for start in starts])


def _saturation(model: TrainingModel, ids) -> dict[str, tf.Tensor]:
    gates = model.language_model.gate_values(ids)
    return {
        name: tf.reduce_mean(tf.cast((value < LOW) | (value > HIGH), tf.float32))
        for name, value in gates.items()
    }
