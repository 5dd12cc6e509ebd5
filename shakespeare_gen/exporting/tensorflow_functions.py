"""The model as two functions of TensorFlow: `read` for a sequence, `step` for a token.

`read` is a loop over the step, so that both share the weights. Inputs are `ids`, int32, and the
arrays of the state by name; outputs are `logits` and the arrays `next_NAME`. Knows nothing about
files.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.exporting.tracing import named, with_namespace
from shakespeare_gen.models import LanguageModel, states


class Functions(tf.Module):
    """The functions `read` and `step`, traced.

    Args:
      batch_size: number of rows; None: any.
      has_variables: keep the weights as variables; otherwise they are constants of the graph.
      xp: the array namespace of the step; None: that of the model.
    """

    def __init__(
        self, subject: Subject, batch_size: int | None, has_variables: bool, xp: Any = None
    ) -> None:
        super().__init__("language_model")
        model = subject.tensorflow_model()
        self._names = subject.state_names
        step_weights = model.step_weights()
        if has_variables:
            paths = iter([path for path, _ in named(step_weights)])
            step_weights = states.map_arrays(
                lambda array: tf.Variable(array, trainable=False, name=next(paths)), step_weights
            )
        self._arrays = states.flatten(step_weights)  # a module saves what its attributes hold
        arguments = _Arguments(model, self._names, batch_size)
        step = _step_function(model, step_weights, xp)
        self.step = arguments.function(lambda ids, state: step(ids, state), [])
        self.read = arguments.function(lambda ids, state: _read(step, ids, state), [None])


def _current(weight: Any) -> Any:
    """The value of a variable; constants are captured as they are."""
    return tf.convert_to_tensor(weight) if isinstance(weight, tf.Variable) else weight


class ScaledTables:
    """TensorFlow's NumPy, with tables of which all columns reach from -1 to 1.

    Rounded with one scale for a table, the columns then have as many steps each. Tables must be
    constants.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(tnp, name)

    def take(self, table, ids, axis: int = 0):
        """Rows of a table."""
        values = tf.get_static_value(table)
        scales = np.maximum(np.abs(values).max(axis), np.finfo(np.float32).tiny)
        return tnp.take(values / scales, ids, axis=axis) * scales


def _step_function(model: LanguageModel, weights: Any, xp: Any) -> Callable:
    """ids [B], the arrays of a state -> logits [B, V], those of the new state."""
    like = model.initial_state(1)
    function = with_namespace(model.step_function, xp) if xp else model.step_function

    def step(ids, arrays):
        values = states.map_arrays(_current, weights)
        logits, state = function(values, ids, states.unflatten(like, arrays))
        return logits, states.flatten(state)

    return step


def _read(step: Callable, ids, state) -> tuple[Any, Any]:
    """ids [B, T], the arrays of a state -> logits [B, T, V], those of the new state."""
    num_tokens = tf.shape(ids)[1]
    by_time = tf.transpose(ids)
    shape = step(by_time[0], state)[0].shape
    logits = tf.TensorArray(tf.float32, size=num_tokens, element_shape=shape)

    def body(t, logits, state):
        row, state = step(by_time[t], state)
        return t + 1, logits.write(t, row), state

    _, logits, state = tf.while_loop(lambda t, *_: t < num_tokens, body, (0, logits, list(state)))
    return tf.transpose(logits.stack(), [1, 0, 2]), state


class _Arguments:
    """The inputs and outputs of the functions, by name."""

    def __init__(self, model: LanguageModel, names, batch_size: int | None) -> None:
        arrays = states.flatten(model.initial_state(1))
        self._names, self._batch_size = names, batch_size
        self._state = [
            tf.TensorSpec([batch_size, *array.shape[1:]], array.dtype, name)
            for array, name in zip(arrays, names, strict=True)
        ]

    def function(self, function: Callable, axes: list) -> Any:
        """`(ids, state) -> (logits, state)` as a concrete function of named arguments.

        Args:
          axes: of the ids after the batch.
        """
        ids = tf.TensorSpec([self._batch_size, *axes], tf.int32, "ids")

        def call(ids, *state):
            logits, new_state = function(ids, state)
            pairs = zip(self._names, new_state, strict=True)
            return {"logits": logits, **{f"next_{name}": array for name, array in pairs}}

        made = tf.function(call, input_signature=[ids, *self._state], autograph=False)
        return made.get_concrete_function()
