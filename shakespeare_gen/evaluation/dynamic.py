"""The loss of a model that adapts to the text it reads (dynamic evaluation).

Protocol `adapting` (Krause et al. 2018, arXiv 1709.07432): the text is read in segments. Each
segment is scored first; then the weights take a step along the negative gradient of its loss, and
decay towards the trained weights w0:

    sgd:  w += -rate g              + decay (w0 - w)
    rms:  w += -rate g / r          + decay (r / mean r) (w0 - w)

g is the gradient of the segment's mean loss, and r the root mean square of such gradients on the
training text, plus `FLOOR` times its mean: without the floor, weights with tiny gradients on the
training text, such as the embedding of a rare token, would take huge steps. The decay factor is at
most 1. The weights are passed as values from segment to segment: the model itself does not change.

Shapes: T segment_tokens, N tokens.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from shakespeare_gen.evaluation import rows
from shakespeare_gen.evaluation.likelihood import Reading
from shakespeare_gen.models import LanguageModel

FLOOR = 0.1


class Segment(NamedTuple):
    """The predictions of a model for a segment.

    Attributes:
      log_probabilities: of all tokens, float32 [T, V].
    """

    reading: Reading
    log_probabilities: np.ndarray


def joined(readings: list[Reading]) -> Reading:
    """The reading of several parts of a text, one after the other."""
    names = [field.name for field in dataclasses.fields(Reading)]
    return Reading(*(np.concatenate([getattr(r, name) for r in readings]) for name in names))


class Adapter:
    """Reads texts with a model that adapts to them.

    Args:
      train_ids: the training text, for the mean squares of `rms`; `num_segments` evenly spaced
        segments of it are read, each from an empty state. (Fewer but longer parts, with a carried
        state, gave worse results on validation text.)
    """

    def __init__(
        self,
        model: LanguageModel,
        train_ids: np.ndarray,
        segment_tokens: int,
        num_segments: int = 200,
    ) -> None:
        self._model, self.segment_tokens = model, segment_tokens
        self._trained = dict(model.weight_arrays())
        self._train_ids, self._num_segments = np.asarray(train_ids, np.int32), num_segments

    def read(self, ids: np.ndarray, start_id: int, rule: str, rate: float, decay: float) -> Reading:
        """Predicts every token of `ids` [N], and adapts to each segment after scoring it."""
        segments = self.segments(ids, start_id, rule, rate, decay)
        return joined([segment.reading for segment in segments])

    def segments(
        self, ids: np.ndarray, start_id: int, rule: str, rate: float, decay: float
    ) -> Iterator["Segment"]:
        """The predictions of `read`, segment by segment."""
        rates, decays = self.step_sizes(rule, rate, decay)
        padded = np.concatenate([[start_id], ids]).astype(np.int32)
        step = self.make_step()
        weights, state = self._trained, self._model.initial_state(1)
        for begin in range(0, len(ids), self.segment_tokens):
            segment = tf.constant(padded[begin : begin + self.segment_tokens + 1][None])
            # The gradient is that of a mean: the last, shorter segment takes a smaller step.
            share = tf.constant((segment.shape[1] - 1) / self.segment_tokens, tf.float32)
            *results, log_probabilities, state, weights = step(
                weights, self._trained, rates, decays, segment, state, share
            )
            parts = [part[0].numpy() for part in (segment[:, 1:], *results)]
            yield Segment(Reading(*parts), log_probabilities[0].numpy())

    def make_step(self) -> Callable:
        """The compiled step; models of the same shape share it."""
        return _compiled(self._model.read_function)[1]

    def step_sizes(self, rule: str, rate: float, decay: float) -> tuple[dict, dict]:
        """The factors of the gradient and of the decay, for each element of each weight."""
        roots = {name: tf.ones_like(w) for name, w in self._trained.items()}
        if rule == "rms":
            roots = self._gradient_roots
        mean = _mean(list(roots.values()))
        rates = {name: rate / root for name, root in roots.items()}
        decays = {name: tf.minimum(decay * root / mean, 1.0) for name, root in roots.items()}
        return rates, decays

    @functools.cached_property
    def _gradient_roots(self) -> dict:
        """Root mean squares of the gradients on the training text, with the floor."""
        score = _compiled(self._model.read_function)[0]
        squares = {name: tf.zeros_like(w) for name, w in self._trained.items()}
        last = len(self._train_ids) - self.segment_tokens - 1
        starts = np.unique(np.linspace(0, max(last, 0), self._num_segments).astype(int))
        for start in starts:
            segment = tf.constant(self._train_ids[start : start + self.segment_tokens + 1][None])
            *_, gradients = score(self._trained, segment)
            squares = {name: s + tf.square(gradients[name]) for name, s in squares.items()}
        roots = {name: tf.sqrt(s / len(starts)) for name, s in squares.items()}
        floor = FLOOR * _mean(list(roots.values())) + 1e-12
        return {name: root + floor for name, root in roots.items()}


@functools.lru_cache(maxsize=rows.MAX_COMPILED)
def _compiled(read_function: Callable) -> tuple[Callable, Callable]:
    """`score`: weights, segment [1, T + 1], state -> predictions, log-probabilities [1, T, V],
    state, gradients by name.
    `step`: the same, with the updated weights instead of the gradients."""

    def score(weights, segment, state=None):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits, state = read_function(weights, segment[:, :-1], state)
            found = rows.predictions(logits, segment[:, 1:])
            loss = tf.reduce_mean(found[0])
        gradients = tape.gradient(loss, weights)
        dense = {name: tf.convert_to_tensor(g) for name, g in gradients.items()}
        return *found, tf.nn.log_softmax(logits), state, dense

    def step(weights, trained, rates, decays, segment, state, share):
        *found, state, gradients = score(weights, segment, state)
        updated = {
            name: w + share * (decays[name] * (trained[name] - w) - rates[name] * gradients[name])
            for name, w in weights.items()
        }
        return *found, state, updated

    options = {"reduce_retracing": True, "autograph": False}
    return tf.function(score, **options), tf.function(step, **options)


def _mean(tensors: list) -> float:
    """The mean of all elements of all tensors."""
    return sum(float(tf.reduce_sum(t)) for t in tensors) / sum(int(tf.size(t)) for t in tensors)
