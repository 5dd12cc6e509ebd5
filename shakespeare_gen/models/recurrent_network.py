"""The recurrent family in Keras: a functional network with an explicit state.

Dropout on the outputs of each recurrent layer uses one mask per window, the same at every time step
(Gal and Ghahramani 2016, arXiv 1512.05287). With `precision="bfloat16"` matrix products are
computed in bfloat16; weights, logits, gates and the state within a window are float32, and the
state that `read` returns is rounded to bfloat16.
"""

import collections
import dataclasses
import threading
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from shakespeare_gen.models import initialization, recurrent, states
from shakespeare_gen.models.language_model import LanguageModel, StepwiseModel
from shakespeare_gen.models.layers import fused
from shakespeare_gen.models.recurrent import RecurrentSpec, RecurrentStep, run_layers


class RecurrentModel(LanguageModel):
    """A recurrent network with newly initialized weights; see `models.build` for the arguments."""

    def __init__(self, spec: RecurrentSpec, precision: str, kernel: str) -> None:
        self.spec = spec
        self._key = _Key(spec, precision, kernel)
        self._network = _network(self._key)
        _networks.add(self._key, self._network)
        self._step = RecurrentStep(spec, tnp)
        self._weights = _named(self._network)
        initialization.rescale(self._weights, spec.options.init_scale)

    @property
    def vocabulary_size(self) -> int:
        return self.spec.vocabulary_size

    @property
    def weights(self) -> dict[str, Any]:
        return self._weights

    @property
    def layer(self) -> keras.Model:
        return self._network

    def initial_state(self, batch_size):
        return self.spec.initial_state(tnp, batch_size)

    def read(self, ids, state=None, training=False):
        ids, state = _started(self.spec, ids, state)
        inputs = _inputs(self._network, ids, state)
        logits, *arrays = self._network(inputs, training=training)
        return logits, _widened(state, arrays)

    @property
    def step_function(self) -> RecurrentStep:
        return self._step

    def step_weights(self):
        return self._step.weights(self.weight_arrays())

    def hidden(self, ids, state=None):
        return self.hidden_function(self.weight_arrays(), ids, state)

    def gate_values(self, ids):
        hidden, _ = self.hidden(ids)
        return recurrent.gate_values(self.spec, tnp, self.weight_arrays(), ids, hidden)

    @property
    def read_function(self) -> "RecurrentRead":
        return RecurrentRead(self._key)

    @property
    def hidden_function(self) -> "RecurrentHidden":
        return RecurrentHidden(self._key)

    def weight_arrays(self) -> dict[str, Any]:
        return {name: tf.convert_to_tensor(weight) for name, weight in self._weights.items()}

    def in_numpy(self) -> LanguageModel:
        arrays = {name: np.asarray(weight) for name, weight in self._weights.items()}
        return recurrent.from_arrays(self.spec, arrays)

    def in_bfloat16(self) -> LanguageModel:
        step, weights = RecurrentStep(self.spec, tnp, in_bfloat16=True), self.weight_arrays()
        return StepwiseModel(step, weights, step.weights(weights), self.initial_state, tnp)

    def facts(self) -> dict[str, str]:
        first = self._network.get_layer(self.spec.layers[0].name)
        on_cudnn = isinstance(first, fused.FusedRNN) and first.runs_on_cudnn()
        return {"kernel": first.chosen_kernel() + " (cuDNN)" * on_cudnn}


@dataclasses.dataclass(frozen=True)
class _Key:
    """The arguments of a network."""

    spec: RecurrentSpec
    precision: str
    kernel: str


@dataclasses.dataclass(frozen=True)
class RecurrentRead:
    """See `LanguageModel.read_function`; computed by a network with the same key."""

    key: _Key

    def __call__(self, weights, ids, state=None):
        network = _networks.get(self.key)
        ids, state = _started(self.key.spec, ids, state)
        logits, *arrays = _stateless(network, weights, _inputs(network, ids, state))
        return logits, _widened(state, arrays)


@dataclasses.dataclass(frozen=True)
class RecurrentHidden:
    """See `LanguageModel.hidden_function`."""

    key: _Key

    def __call__(self, weights, ids, state=None):
        network = _networks.get(self.key)
        ids, state = _started(self.key.spec, ids, state)
        size = len(self.key.spec.layers)
        outputs = [network.get_layer(layer.name).output[0] for layer in self.key.spec.layers]
        probe = keras.Model(network.inputs, [*outputs, *network.outputs[1:]])
        found = _stateless(probe, weights, _inputs(network, ids, state))
        activations = tf.concat([tf.cast(y, tf.float32) for y in found[:size]], -1)
        return activations, _widened(state, found[size:])


class _Networks:
    """A cache of the most recently used networks by key; their own weights are not used."""

    def __init__(self, max_networks: int) -> None:
        self._max_networks, self._lock = max_networks, threading.Lock()
        self._networks: collections.OrderedDict[_Key, keras.Model] = collections.OrderedDict()

    def add(self, key: _Key, network: keras.Model) -> None:
        with self._lock:
            self._networks.setdefault(key, network)
            self._networks.move_to_end(key)
            while len(self._networks) > self._max_networks:
                self._networks.popitem(last=False)

    def get(self, key: _Key) -> keras.Model:
        with self._lock:
            if key in self._networks:
                self._networks.move_to_end(key)
                return self._networks[key]
        network = _network(key)
        self.add(key, network)
        return network


_networks = _Networks(max_networks=4)


def _stateless(network: keras.Model, weights: dict[str, Any], inputs: list) -> list:
    """The outputs of `network` with `weights` by name instead of its own."""
    mapping = [(variable, weights[name]) for name, variable in _named(network).items()]
    with keras.StatelessScope(state_mapping=mapping):
        return network(inputs, training=False)


def _named(network: keras.Model) -> dict[str, Any]:
    """Every weight by its name: `lstm_1/kernel`."""
    return {f"{layer.name}/{w.name}": w for layer in network.layers for w in layer.weights}


def _started(spec: RecurrentSpec, ids, state) -> tuple:
    """Ids as int32, and the state; None: that of the start of a text."""
    ids = tf.cast(tf.convert_to_tensor(ids), tf.int32)
    return ids, spec.initial_state(tnp, tf.shape(ids)[0]) if state is None else state


def _inputs(network: keras.Model, ids, state) -> list:
    """Ids, and the arrays of the state in the compute type of the network."""
    dtypes = [part.dtype for part in network.inputs[1:]]
    arrays = zip(states.flatten(state), dtypes, strict=True)
    return [ids, *(tf.cast(array, dtype) for array, dtype in arrays)]


def _widened(like, arrays):
    return states.unflatten(like, [tf.cast(array, tf.float32) for array in arrays])


def _network(key: _Key) -> keras.Model:
    """A functional model: [ids [B, T], *state] -> [logits [B, T, V], *state]."""
    spec = key.spec
    dtype = "mixed_bfloat16" if key.precision == "bfloat16" else "float32"
    state_dtype = keras.DTypePolicy(dtype).compute_dtype
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = _embedded(spec, ids, dtype)
    first_state = [
        [
            keras.Input((layer.units,), dtype=state_dtype, name=f"{layer.name}_{part}")
            for part in layer.definition.state_parts
        ]
        for layer in spec.layers
    ]

    one_hot_layer = None if spec.options.embedding_size else spec.layers[0]

    def run(layer, x, part):
        made = layer.definition.make_layer(
            layer.units,
            return_sequences=True,
            return_state=True,
            kernel=key.kernel,
            one_hot_size=spec.vocabulary_size if layer is one_hot_layer else 0,
            dtype=dtype,
            name=layer.name,
        )
        y, *new_part = made(x, initial_state=part)
        if spec.options.dropout:
            name = f"dropout_{layer.name}"
            y = keras.layers.SpatialDropout1D(spec.options.dropout, dtype=dtype, name=name)(y)
        return y, new_part

    x, last_state = run_layers(spec.layers, x, first_state, run)
    logits = keras.layers.Dense(spec.vocabulary_size, dtype="float32", name="logits")(x)
    inputs = [ids, *(part for layer in first_state for part in layer)]
    outputs = [logits, *(part for layer in last_state for part in layer)]
    return keras.Model(inputs, outputs, name="network")


def _embedded(spec: RecurrentSpec, ids, dtype: str):
    """The input of the first layer: embeddings [B, T, D], or the ids themselves, [B, T, 1]."""
    embedding_size = spec.options.embedding_size
    if not embedding_size:
        return ids[..., None]
    embedding = keras.layers.Embedding(
        spec.vocabulary_size, embedding_size, dtype=dtype, name="embedding"
    )
    return embedding(ids)
