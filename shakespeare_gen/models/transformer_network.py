"""The transformer family in TensorFlow: a Keras layer with the weights, and whole sequences.

With `precision="bfloat16"` matrix products and the rotations of queries and keys are computed in
bfloat16; weights, the residual stream, norms, softmax, logits and the state are float32.

Shapes: see `transformer`; K positions that are attended to, the cached ones first.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from shakespeare_gen.models import initialization, rotary, transformer
from shakespeare_gen.models.language_model import LanguageModel
from shakespeare_gen.models.transformer import NORM_EPSILON, TransformerSpec, TransformerStep

INITIAL_DEVIATION = 0.02
MAX_DROPS = 1000  # of one pass; more than layers can have


class TransformerModel(LanguageModel):
    """A transformer with newly initialized weights; see `models.build` for the arguments."""

    def __init__(self, spec: TransformerSpec, precision: str) -> None:
        self.spec = spec
        self._network = _Network(spec)
        initialization.rescale(self.weights, spec.options.init_scale)
        self._step = TransformerStep(spec, tnp)
        self._read = TransformerRead(spec, precision)

    @property
    def vocabulary_size(self) -> int:
        return self.spec.vocabulary_size

    @property
    def weights(self) -> dict[str, Any]:
        return self._network.by_name

    @property
    def layer(self) -> keras.layers.Layer:
        return self._network

    def initial_state(self, batch_size):
        return self.spec.initial_state(tnp, batch_size)

    def read(self, ids, state=None, training=False):
        drop = self._network.dropout() if training else _keep
        return self._read.logits(self.weight_arrays(), ids, state, drop)

    @property
    def step_function(self) -> TransformerStep:
        return self._step

    def step_weights(self):
        return self._step.weights(self.weight_arrays())

    def hidden(self, ids, state=None):
        return self.hidden_function(self.weight_arrays(), ids, state)

    @property
    def read_function(self) -> "TransformerRead":
        return self._read

    @property
    def hidden_function(self) -> "TransformerHidden":
        return TransformerHidden(self._read)

    def weight_arrays(self) -> dict[str, Any]:
        return {name: tf.convert_to_tensor(weight) for name, weight in self.weights.items()}

    def in_numpy(self) -> LanguageModel:
        arrays = {name: np.asarray(weight) for name, weight in self.weights.items()}
        return transformer.from_arrays(self.spec, arrays)


class _Network(keras.layers.Layer):
    """The variables: weights by name, and the seed of the dropout.

    Initialized as in GPT-2: normal, and smaller by the number of parts where the outputs of all
    parts of the layers are added.
    """

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__(name="network", dtype="float32")
        self._spec = spec
        self.by_name = {
            name: self.add_weight(
                shape=shape, initializer=self._initializer(name), name=name.rpartition("/")[2]
            )
            for name, shape in spec.weight_shapes().items()
        }
        self._seeds = keras.random.SeedGenerator() if spec.options.dropout else None
        self.built = True

    def _initializer(self, name: str) -> Any:
        if name.endswith("scale"):
            return "ones"
        num_parts = 2 * self._spec.options.num_layers
        share = num_parts**-0.5 if name.endswith("output_kernel") else 1.0
        return keras.initializers.RandomNormal(stddev=INITIAL_DEVIATION * share)

    def dropout(self) -> Callable:
        """A function that drops elements of a tensor, with another seed for each call."""
        if self._seeds is None:
            return _keep
        seed, rate = tf.cast(self._seeds.next(), tf.int64), self._spec.options.dropout
        numbers = itertools.count()

        def drop(x):
            own = seed * [1, MAX_DROPS] + [0, next(numbers)]
            return tf.nn.experimental.stateless_dropout(x, rate, own)

        return drop


def _keep(x):
    """Dropout that drops nothing."""
    return x


@dataclasses.dataclass(frozen=True)
class TransformerRead:
    """See `LanguageModel.read_function`."""

    spec: TransformerSpec
    precision: str

    def __call__(self, weights, ids, state=None) -> tuple[Any, tuple]:
        return self.logits(weights, ids, state, _keep)

    def logits(self, weights, ids, state, drop: Callable) -> tuple[Any, tuple]:
        """Logits [B, T, V] and the new state; training passes a `drop` that drops elements."""
        x, state = self.outputs(weights, ids, state, drop)
        if self.spec.options.tied_embeddings:
            kernel = tf.transpose(weights["embedding/embeddings"])
        else:
            kernel = weights["logits/kernel"]
        return tf.cast(self._product(x, kernel), tf.float32), state

    def outputs(self, weights, ids, state, drop: Callable) -> tuple[Any, tuple]:
        """The normalized output of the last layer, float32 [B, T, W], and the new state."""
        ids = tf.cast(tf.convert_to_tensor(ids), tf.int32)
        x = drop(tf.gather(weights["embedding/embeddings"], ids))
        position, slot, *caches = state or [None] * (2 + len(self.spec.layer_names))
        places = _places(self.spec, _length(x, 1), position, slot)
        new_caches = []
        for layer, cache in zip(self.spec.layer_names, caches, strict=True):
            own = {
                name.removeprefix(f"{layer}/"): weight
                for name, weight in weights.items()
                if name.startswith(f"{layer}/")
            }
            y, cache = self._attend(own, x, cache, places, drop)
            x = x + drop(y)
            x = x + drop(self._transform(own, x))
            new_caches.append(cache)
        last = tf.repeat(places.last, _length(x, 0) // _length(places.last, 0), axis=0)
        slot = tf.zeros([_length(x, 0), 1])  # of the oldest position
        return normalized(x, weights["final/scale"]), (last, slot, *new_caches)

    def _attend(self, own, x, cache, places: "_Places", drop: Callable) -> tuple[Any, tuple]:
        """The attention of a layer: x, keys and values before -> y [B, T, W], those after."""
        o, num_rows, num_tokens = self.spec.options, _length(x, 0), _length(x, 1)
        qkv = self._product(normalized(x, own["attention_scale"]), own["qkv_kernel"])
        qkv = tf.reshape(qkv, [num_rows, num_tokens, 3, o.num_heads, o.head_size])
        qkv = tf.transpose(qkv, [2, 0, 3, 1, 4])  # [3, B, H, T, S]
        # Not slices, whose gradients would be arrays of zeros as large as the whole.
        query, key, value = tf.unstack(qkv)
        query = self._rotated(query, [part * o.head_size**-0.5 for part in places.rotation])
        key = self._rotated(key, places.rotation)
        if cache is not None:
            ordered = [tf.gather(part, places.order, axis=2, batch_dims=1) for part in cache]
            key = tf.concat([self._narrow(ordered[0]), key], 2)
            value = tf.concat([self._narrow(ordered[1]), value], 2)
        scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)
        shares = self._narrow(drop(tf.nn.softmax(scores + places.mask)))
        y = tf.transpose(tf.matmul(shares, value), [0, 2, 1, 3])
        y = tf.reshape(y, [num_rows, num_tokens, o.width])
        later = _newest(key, o.context_tokens), _newest(value, o.context_tokens)
        return tf.cast(self._product(y, own["attention_output_kernel"]), tf.float32), later

    def _rotated(self, x, rotation):
        return self._narrow(rotary.rotated(tnp, tf.cast(x, tf.float32), *rotation))

    def _transform(self, own, x):
        """The MLP of a layer: [B, T, W] -> [B, T, W]."""
        hidden = self._product(normalized(x, own["mlp_scale"]), own["mlp_input_kernel"])
        hidden = activated(self.spec.options.mlp, hidden)
        return tf.cast(self._product(hidden, own["mlp_output_kernel"]), tf.float32)

    def _narrow(self, x):
        return tf.cast(x, tf.bfloat16 if self.precision == "bfloat16" else tf.float32)

    def _product(self, x, kernel):
        """x [..., N] times kernel [N, M], in the precision of the products."""
        rows = tf.reshape(self._narrow(x), [-1, kernel.shape[0]])
        found = tf.matmul(rows, self._narrow(kernel))
        return tf.reshape(found, tf.concat([tf.shape(x)[:-1], [kernel.shape[1]]], 0))


@dataclasses.dataclass(frozen=True)
class TransformerHidden:
    """See `LanguageModel.hidden_function`: the normalized output of the last layer."""

    read: TransformerRead

    def __call__(self, weights, ids, state=None) -> tuple[Any, tuple]:
        return self.read.outputs(weights, ids, state, _keep)


@dataclasses.dataclass(frozen=True)
class _Places:
    """What the positions of a sequence mean for all layers.

    Attributes:
      rotation: cosines and sines, [B or 1, 1, T, S / 2].
      mask: added to the scores, float32 [B or 1, 1, T, K].
      last: the position after the sequence, float32 [B or 1, 1].
      order: the slots of the cache, the oldest one first, int32 [B, C]; None without a cache.
    """

    rotation: tuple
    mask: Any
    last: Any
    order: Any


def _places(spec: TransformerSpec, num_tokens, position, slot) -> _Places:
    """`num_tokens` positions after `position` and `slot` [B, 1]; None: the start of a text."""
    o = spec.options
    num_cached = 0 if position is None else o.context_tokens
    first = tf.zeros([1, 1]) if position is None else position
    steps = tf.range(num_tokens)
    own = rotary.advanced(tnp, first, steps)  # [B, T]
    rotation = rotary.rotation(tnp, own, o.head_size)
    ages = tf.cast(num_cached + steps[:, None] - tf.range(num_cached + num_tokens), tf.float32)
    is_seen = (ages >= 0) & (ages < o.context_tokens) & (ages <= own[..., None])  # [B, T, K]
    mask = tf.where(is_seen, 0.0, -np.inf)[:, None]
    last = rotary.advanced(tnp, first, num_tokens)
    order = None
    if slot is not None:
        order = (tf.cast(slot, tf.int32) + tf.range(num_cached)) % num_cached
    return _Places(tuple(part[:, None] for part in rotation), mask, last, order)


def _newest(cache, num_positions: int):
    """The last positions of keys or values [B, H, K, S], after zeros if there are fewer."""
    missing = tf.maximum(num_positions - _length(cache, 2), 0)
    padded = tf.pad(cache, [[0, 0], [0, 0], [missing, 0], [0, 0]])
    return tf.cast(padded[:, :, -num_positions:], tf.float32)


def _length(x, axis: int):
    """The length of an axis: an integer if it is known when the graph is built."""
    return tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]


@tf.custom_gradient
def normalized(x, gain):
    """See `transformer.normalized`: x [B, T, W], gain [W]; half the passes of its gradient."""
    factor = tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + NORM_EPSILON)
    unit = x * factor

    def gradient(dy):
        d_unit = dy * gain
        along = tf.reduce_mean(d_unit * unit, -1, keepdims=True)
        return (d_unit - unit * along) * factor, tf.reduce_sum(dy * unit, [0, 1])

    return unit * gain, gradient


def activated(kind: str, x):
    """See `transformer.activated`; fused operations, whose gradients are fused too."""
    if kind == "gelu":
        return tf.nn.gelu(x, approximate=True)
    gate, value = tf.split(x, 2, -1)
    return tf.nn.silu(gate) * value
