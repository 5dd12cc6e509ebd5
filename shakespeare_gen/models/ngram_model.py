"""A language model of n-grams, computed from its tables: see `ngram` for their form.

Its state is the last n - 1 ids of each row, int32 [B, n - 1]; -1 stands for nothing, so that what
was read may be shorter. The arithmetic is written once for NumPy and TensorFlow. A step is a read
of one token.

Shapes: B batch, T time, V vocabulary, W largest number of tokens that follow a context of a length.
"""

import dataclasses
from typing import Any

import numpy as np

from shakespeare_gen.models import ngram
from shakespeare_gen.models.language_model import LanguageModel

SMALLEST = np.finfo(np.float32).tiny  # products of many small backoffs would become 0


@dataclasses.dataclass(frozen=True)
class TableSizes:
    """What distinguishes the compiled programs of two models with the same options.

    Attributes:
      num_keys, num_ngrams: lengths of the tables.
      widths: for contexts of 0, 1, ... tokens, the largest number of tokens that follow one, W.
    """

    num_keys: int
    num_ngrams: int
    widths: tuple[int, ...]

    @classmethod
    def of(cls, spec: ngram.NGramSpec, weights: ngram.Tables) -> "TableSizes":
        """The sizes of valid tables."""
        keys = weights["contexts/keys"]
        starts = ngram.levels(keys, spec.vocabulary_size)[:-1]
        widths = np.maximum.reduceat(np.diff(weights["contexts/begins"]), starts)
        return cls(len(keys), len(weights["ngrams/ids"]), tuple(map(int, widths)))


@dataclasses.dataclass(frozen=True)
class NGramRead:
    """See `LanguageModel.read_function`."""

    vocabulary_size: int
    sizes: TableSizes
    xp: Any

    def __call__(self, weights, ids, state) -> tuple[Any, Any]:
        xp = self.xp
        ids = xp.asarray(ids, xp.int32)
        width = state.shape[1]
        known = xp.concatenate([state, ids], 1)
        nodes = xp.zeros_like(ids)
        p = xp.asarray(nodes[..., None], xp.float32) + np.full(
            self.vocabulary_size, 1 / self.vocabulary_size, np.float32
        )
        for length, most in enumerate(self.sizes.widths):
            if length:
                before = known[:, width + 1 - length : (1 - length) or None]
                nodes = self._child(weights["contexts/keys"], nodes, before)
            p = self._interpolated(weights, nodes, p, most)
        rest = known[:, -width:] if width else known[:, :0]
        return xp.log(xp.maximum(p, SMALLEST)), rest

    def _child(self, keys, nodes, tokens):
        """The node of each context with `tokens` before it; -1: not counted."""
        xp = self.xp
        wanted = xp.asarray(nodes, xp.int64) * self.vocabulary_size + xp.asarray(tokens, xp.int64)
        places = _first_not_less(xp, keys, wanted, self.sizes.num_keys)
        places = xp.minimum(places, np.int32(self.sizes.num_keys - 1))
        is_found = (xp.take(keys, places, axis=0) == wanted) & (nodes >= 0) & (tokens >= 0)
        return xp.where(is_found, places + np.int32(1), np.int32(-1))

    def _interpolated(self, weights, nodes, p, width: int):
        """Probabilities [B, T, V] after contexts [B, T], from those after the shorter contexts."""
        xp = self.xp
        is_known, nodes = nodes >= 0, xp.maximum(nodes, np.int32(0))
        begins = xp.take(weights["contexts/begins"], nodes, axis=0)
        ends = xp.take(weights["contexts/begins"], nodes + np.int32(1), axis=0)
        backoffs = xp.take(weights["contexts/backoffs"], nodes, axis=0)
        lower = xp.where(is_known, backoffs, np.float32(1))[..., None] * p
        places = begins[..., None] + np.arange(width, dtype=np.int32)
        is_own = is_known[..., None] & (places < ends[..., None])
        places = xp.minimum(places, np.int32(self.sizes.num_ngrams - 1))
        found = xp.take(weights["ngrams/probabilities"], places, axis=0)
        tokens = xp.take(weights["ngrams/ids"], places, axis=0)
        return _added(xp, lower, tokens, xp.where(is_own, found, np.float32(0)))


@dataclasses.dataclass(frozen=True)
class NGramStep:
    """See `LanguageModel.step_function`."""

    read: NGramRead

    def __call__(self, weights, ids, state) -> tuple[Any, Any]:
        logits, state = self.read(weights, ids[:, None], state)
        return logits[:, 0], state


def _first_not_less(xp, keys, wanted, num_keys: int):
    """The index of the first of the sorted `keys` that is not less, for each of `wanted`: int32."""
    if xp is np:
        return np.searchsorted(keys, wanted).astype(np.int32)
    import tensorflow as tf

    if tf.executing_eagerly():  # without a compiler, every round of the loop takes a millisecond
        flat = tf.searchsorted(keys, tf.reshape(wanted, [-1]))
        return tf.reshape(flat, wanted.shape)

    def halved(step, place):  # XLA would compare all keys with all that are wanted
        probe = place + step
        before = tf.gather(keys, tf.minimum(probe, num_keys) - 1)
        is_less = (probe <= num_keys) & (before < wanted)
        return step // 2, tf.where(is_less, probe, place)

    first = tf.constant(1 << (num_keys.bit_length() - 1)), tf.zeros_like(wanted, tf.int32)
    return tf.while_loop(lambda step, place: step > 0, halved, first)[1]


def _added(xp, p, ids, values):
    """Adds values [..., W] to p [..., V] at ids [..., W]; equal ids of a row are summed."""
    size = p.shape[-1]
    if xp is np:
        rows = np.arange(p.size // size, dtype=np.int64)[:, None] * size
        np.add.at(p.reshape(-1), rows + ids.reshape(len(rows), -1), values.reshape(len(rows), -1))
        return p
    import tensorflow as tf

    width = ids.shape[-1]
    rows = tf.range(tf.size(p) // size)[:, None] * size
    places = tf.reshape(rows + tf.reshape(ids, [-1, width]), [-1, 1])
    flat = tf.tensor_scatter_nd_add(tf.reshape(p, [-1]), places, tf.reshape(values, [-1]))
    return tf.reshape(flat, tf.shape(p))


class NGramModel(LanguageModel):
    """N-grams with valid tables; `xp` is their array namespace."""

    def __init__(self, spec: ngram.NGramSpec, weights: ngram.Tables, xp: Any) -> None:
        self.spec, self._xp = spec, xp
        self._arrays = dict(weights)
        self._weights = {name: xp.asarray(array) for name, array in weights.items()}
        self._read = NGramRead(spec.vocabulary_size, TableSizes.of(spec, weights), xp)

    @property
    def vocabulary_size(self) -> int:
        return self.spec.vocabulary_size

    @property
    def weights(self) -> dict[str, Any]:
        return self._weights

    def initial_state(self, batch_size):
        xp = self._xp
        return xp.zeros([batch_size, self.spec.max_context_tokens], xp.int32) - np.int32(1)

    def read(self, ids, state, training=False):
        return self._read(self._weights, ids, state)

    @property
    def read_function(self) -> NGramRead:
        return self._read

    @property
    def step_function(self) -> NGramStep:
        return NGramStep(self._read)

    def step_weights(self):
        return self._weights

    @property
    def has_gradients(self) -> bool:
        return False

    @property
    def uses_numpy(self) -> bool:
        return self._xp is np

    def in_numpy(self) -> LanguageModel:
        return self if self.uses_numpy else NGramModel(self.spec, self._arrays, np)

    def facts(self) -> dict[str, str]:
        return {
            "order": str(self.spec.options.ngram_order),
            "n-grams": f"{self._read.sizes.num_ngrams:,}",
        }
