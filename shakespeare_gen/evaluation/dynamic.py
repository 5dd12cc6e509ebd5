"""What a network says of a text while it learns from what it has read of it.

Protocol `adapting` (dynamic evaluation; Krause et al. 2018, arXiv 1709.07432): the text
is read in segments; each is scored first, then the weights take a step down the
gradient of its loss and a small one back to the trained weights:

    sgd:  w += -rate g              + decay (w0 - w)
    rms:  w += -rate g / r          + decay (r / mean r) (w0 - w)

where g is the gradient of the segment's mean loss, and r the root of the mean square of
such gradients on the training text, plus `FLOOR` of its own mean: a weight that the
training text hardly moved, such as the embedding of a rare character, would leap
otherwise and not come back. The way back is at most the whole one. The trained
weights come back at the end.

Shapes: T segment_chars, N characters.
"""

import numpy as np
import tensorflow as tf

from shakespeare_gen.evaluation import likelihood
from shakespeare_gen.evaluation.likelihood import Reading
from shakespeare_gen.models.recurrent import initial_state

FLOOR = 0.1


class Adapter:
    """Reads texts with a network that adapts to them.

    Args:
      train_ids: the training text, for the mean squares of `rms`; `num_segments` of its
        segments, evenly spaced, are read, each from nothing. (Fewer places with more segments
        each, and a carried state, gave worse constants on validation text.)
    """

    def __init__(
        self, network, train_ids: np.ndarray, segment_chars: int, num_segments: int = 200
    ) -> None:
        self.network, self.segment_chars = network, segment_chars
        self._weights = network.trainable_variables
        self._trained = [tf.identity(w) for w in self._weights]
        self._train_ids, self._num_segments = np.asarray(train_ids, np.int32), num_segments
        self._roots: list | None = None
        self._judge = tf.function(self._judge_eagerly, reduce_retracing=True)
        self._step = tf.function(self._step_eagerly, reduce_retracing=True)

    def read(self, ids: np.ndarray, start_id: int, rule: str, rate: float, decay: float) -> Reading:
        """Predicts every character of `ids` [N], and learns from it afterwards."""
        rates, decays = self._constants(rule, rate, decay)
        padded = np.concatenate([[start_id], ids]).astype(np.int32)
        state, found = initial_state(self.network, 1), []
        try:
            for begin in range(0, len(ids), self.segment_chars):
                segment = padded[begin : begin + self.segment_chars + 1][None]
                # A mean over the segment: the last, shorter one takes a smaller step.
                share = tf.constant((segment.shape[1] - 1) / self.segment_chars, tf.float32)
                *said, state = self._step(segment, state, rates, decays, share)
                found.append([part[0].numpy() for part in said])
        finally:
            self._restore()
        parts = (np.concatenate(values) for values in zip(*found, strict=True))
        return Reading(np.asarray(ids, np.int32), *parts)

    def _restore(self) -> None:
        for weight, trained in zip(self._weights, self._trained, strict=True):
            weight.assign(trained)

    def _constants(self, rule: str, rate: float, decay: float) -> tuple[list, list]:
        """For each element of each weight, the size of a step and of the way back."""
        roots = [tf.ones_like(w) for w in self._trained]
        if rule == "rms":
            roots = self._gradient_roots()
        mean = _mean(roots)
        return [rate / root for root in roots], [
            tf.minimum(decay * root / mean, 1.0) for root in roots
        ]

    def _gradient_roots(self) -> list:
        """Roots of the mean squared gradients on the training text, with the floor."""
        if self._roots is None:
            squares = [tf.zeros_like(w) for w in self._trained]
            last = len(self._train_ids) - self.segment_chars - 1
            starts = np.unique(np.linspace(0, max(last, 0), self._num_segments).astype(int))
            for start in starts:
                segment = self._train_ids[start : start + self.segment_chars + 1][None]
                *_, gradients = self._judge(segment, initial_state(self.network, 1))
                squares = [s + tf.square(g) for s, g in zip(squares, gradients, strict=True)]
            roots = [tf.sqrt(s / len(starts)) for s in squares]
            floor = FLOOR * _mean(roots) + 1e-12
            self._roots = [root + floor for root in roots]
        return self._roots

    def _judge_eagerly(self, segment, state):
        """A segment [1, T + 1], state -> what `likelihood.judge` says, state, gradients."""
        with tf.GradientTape() as tape:
            logits, *state = self.network([segment[:, :-1], *state], training=False)
            said = likelihood.judge(logits, segment[:, 1:])
            loss = tf.reduce_mean(said[0])
        weights = [w.value for w in self._weights]
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, weights)]
        return *said, state, gradients

    def _step_eagerly(self, segment, state, rates, decays, share):
        """A segment, scored first; then the weights learn from it."""
        *said, state, gradients = self._judge_eagerly(segment, state)
        with tf.control_dependencies([*said, *state]):
            for weight, trained, gradient, rate, decay in zip(
                self._weights, self._trained, gradients, rates, decays, strict=True
            ):
                weight.assign_add(share * (decay * (trained - weight) - rate * gradient))
        return *said, state


def _mean(tensors: list) -> float:
    """Of all their elements."""
    return sum(float(tf.reduce_sum(t)) for t in tensors) / sum(int(tf.size(t)) for t in tensors)
