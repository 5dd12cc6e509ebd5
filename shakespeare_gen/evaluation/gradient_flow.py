"""How far back the loss of one token can teach a recurrent network: gradients by distance.

    (h,), = gradient_flow.norms(model, ids)      # a simple RNN of one layer: [B, T]
    (h, c), = gradient_flow.norms(model, ids)    # an LSTM

The gradient of the loss of a token by the state k tokens before is a product of k Jacobians. Where
its norm is near zero, the loss cannot change what the network stores there (Bengio, Simard and
Frasconi 1994; Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063). Shapes: B texts, T tokens.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from shakespeare_gen.errors import UsageError
from shakespeare_gen.models import LanguageModel, states


def norms(model: LanguageModel, ids: np.ndarray) -> Any:
    """Norms of the gradients of the loss of the last token, of each text by itself.

    Args:
      model: in TensorFlow, with a state of one row per text, such as a recurrent network.
      ids: [B, T + 1]; the last id of each text is the one that is predicted.

    Returns:
      A tree like the state of the model, of arrays [B, T]: column k is the norm of the gradient by
      the state that is carried to k tokens before the last one, counted from 0.

    Raises:
      UsageError: the model is computed in NumPy, or the texts are too short.
    """
    if model.uses_numpy:
        raise UsageError("model: expected a model in TensorFlow, received one in NumPy")
    ids = tf.cast(tf.convert_to_tensor(ids), tf.int32)
    if len(ids.shape) != 2 or ids.shape[1] < 2:
        raise UsageError(f"ids: expected the shape [B, at least 2], received {ids.shape}")
    weights, state = model.step_weights(), model.initial_state(ids.shape[0])
    carried = []
    with tf.GradientTape() as tape:
        tape.watch(states.flatten(state))
        for t in range(ids.shape[1] - 1):
            # Copies: an LSTM computes h from c, and the gradient by c must not pass through that h.
            state = states.map_arrays(tf.identity, state)
            carried.append(states.flatten(state))
            logits, state = model.step_function(weights, ids[:, t], state)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(ids[:, -1], logits)
    gradients = tape.gradient(losses, carried[::-1])
    found = [np.stack([_norm(g) for g in part], 1) for part in zip(*gradients, strict=True)]
    return states.unflatten(state, found)


def _norm(gradient: Any) -> np.ndarray:
    """[B, ...] -> [B]."""
    rows = tf.reshape(gradient, [gradient.shape[0], -1])
    return tf.norm(rows, axis=1).numpy()
