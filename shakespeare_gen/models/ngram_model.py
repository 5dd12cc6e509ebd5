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

MAX_ROW_NUMBERS = 2**22  # of the rows of all contexts: 16 MB
SMALLEST = np.finfo(np.float32).tiny  # products of many small backoffs would become 0


@dataclasses.dataclass(frozen=True)
class TableSizes:
    """What distinguishes the compiled programs of two models with the same options.

    Attributes:
      num_keys, num_ngrams: lengths of the tables.
      widths: for contexts of 0, 1, ... tokens, the largest number of tokens that follow one without
        a row, W.
      have_rows: whether any of these contexts has a row.
    """

    num_keys: int
    num_ngrams: int
    widths: tuple[int, ...]
    have_rows: tuple[bool, ...]


def laid_out(
    spec: ngram.NGramSpec, weights: ngram.Tables
) -> tuple[dict[str, np.ndarray], TableSizes]:
    """Valid tables in the form that is computed with.

    The contexts with the most next tokens have a row of V probabilities each: to add a row is much
    faster than to add thousands of numbers at their ids. Row 0 is empty.
    """
    begins, ids = weights["contexts/begins"], weights["ngrams/ids"]
    sizes = np.diff(begins)
    widest = np.argsort(-sizes, kind="stable")[: MAX_ROW_NUMBERS // spec.vocabulary_size]
    row = np.zeros(len(sizes), np.int32)
    row[widest] = np.arange(1, len(widest) + 1)
    rows = np.zeros((len(widest) + 1, spec.vocabulary_size), np.float32)
    own_row = np.repeat(row, sizes)
    has_row = own_row > 0
    rows[own_row[has_row], ids[has_row]] = weights["ngrams/probabilities"][has_row]
    rest = np.where(row > 0, 0, sizes).astype(np.int32)
    first = ngram.levels(weights["contexts/keys"], spec)[:-1]
    arrays = {
        **weights,
        "contexts/begins": begins[:-1],
        "contexts/ends": begins[:-1] + rest,
        "contexts/rows": row,
        "rows": rows,
    }
    widths = np.maximum.reduceat(rest, first).tolist()
    have_rows = (np.maximum.reduceat(row, first) > 0).tolist()
    return arrays, TableSizes(
        len(weights["contexts/keys"]), len(ids), tuple(widths), tuple(have_rows)
    )


@dataclasses.dataclass(frozen=True)
class NGramRead:
    """See `LanguageModel.read_function`."""

    spec: ngram.NGramSpec
    sizes: TableSizes
    xp: Any

    def __call__(self, weights, ids, state=None) -> tuple[Any, Any]:
        xp = self.xp
        ids = xp.asarray(ids, xp.int32)
        if state is None:
            state = xp.zeros_like(ids[:, :1]) - np.ones(self.spec.max_context_tokens, np.int32)
        width = state.shape[1]
        known = xp.concatenate([state, ids], 1)
        nodes = xp.zeros_like(ids)
        p = xp.asarray(nodes[..., None], xp.float32) + np.full(
            self.spec.vocabulary_size, 1 / self.spec.vocabulary_size, np.float32
        )
        for length in range(len(self.sizes.widths)):
            if length:
                before = known[:, width + 1 - length : (1 - length) or None]
                nodes = self._child(weights["contexts/keys"], nodes, before)
            p = self._interpolated(weights, nodes, p, length)
        rest = known[:, -width:] if width else known[:, :0]
        return xp.log(xp.maximum(p, SMALLEST)), rest

    def _child(self, keys, nodes, tokens):
        """The node of each context with `tokens` before it; -1: not counted."""
        xp = self.xp
        wanted = xp.asarray(nodes, xp.int64) * self.spec.vocabulary_size + xp.asarray(
            tokens, xp.int64
        )
        places = _first_not_less(xp, keys, wanted, self.sizes.num_keys)
        places = xp.minimum(places, np.int32(self.sizes.num_keys - 1))
        is_found = (xp.take(keys, places, axis=0) == wanted) & (nodes >= 0) & (tokens >= 0)
        return xp.where(is_found, places + np.int32(1), np.int32(-1))

    def _interpolated(self, weights, nodes, p, length: int):
        """Probabilities [B, T, V] after contexts [B, T], from those after the shorter contexts."""
        xp = self.xp
        is_known, nodes = nodes >= 0, xp.maximum(nodes, np.int32(0))
        backoffs = xp.take(weights["contexts/backoffs"], nodes, axis=0)
        p = xp.where(is_known, backoffs, np.float32(1))[..., None] * p
        if self.sizes.have_rows[length]:
            rows = xp.where(is_known, xp.take(weights["contexts/rows"], nodes, axis=0), np.int32(0))
            p = p + xp.take(weights["rows"], rows, axis=0)
        width = self.sizes.widths[length]
        if not width:
            return p
        begins = xp.take(weights["contexts/begins"], nodes, axis=0)
        ends = xp.take(weights["contexts/ends"], nodes, axis=0)
        places = begins[..., None] + np.arange(width, dtype=np.int32)
        is_own = is_known[..., None] & (places < ends[..., None])
        places = xp.minimum(places, np.int32(self.sizes.num_ngrams - 1))
        found = xp.take(weights["ngrams/probabilities"], places, axis=0)
        tokens = xp.take(weights["ngrams/ids"], places, axis=0)
        return _added(xp, p, tokens, xp.where(is_own, found, np.float32(0)))


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
        self._weights = dict(weights)
        arrays, sizes = laid_out(spec, weights)
        self._arrays = {name: xp.asarray(array) for name, array in arrays.items()}
        self._read = NGramRead(spec, sizes, xp)

    @property
    def vocabulary_size(self) -> int:
        return self.spec.vocabulary_size

    @property
    def weights(self) -> dict[str, Any]:
        return self._weights

    def weight_arrays(self) -> dict[str, Any]:
        return self._arrays

    def initial_state(self, batch_size):
        xp = self._xp
        return xp.zeros([batch_size, self.spec.max_context_tokens], xp.int32) - np.int32(1)

    def read(self, ids, state=None, training=False):
        return self._read(self._arrays, ids, state)

    @property
    def read_function(self) -> NGramRead:
        return self._read

    @property
    def step_function(self) -> NGramStep:
        return NGramStep(self._read)

    def step_weights(self):
        return self._arrays

    @property
    def has_gradients(self) -> bool:
        return False

    @property
    def uses_numpy(self) -> bool:
        return self._xp is np

    def in_numpy(self) -> LanguageModel:
        return self if self.uses_numpy else NGramModel(self.spec, self._weights, np)

    def facts(self) -> dict[str, str]:
        return {
            "order": str(self.spec.options.ngram_order),
            "n-grams": f"{self._read.sizes.num_ngrams:,}",
        }
