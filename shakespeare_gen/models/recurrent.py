"""The recurrent family: Embedding or one-hot vectors, recurrent layers, Dense.

Topology, shapes and the arithmetic of one step. The topology is defined once, in `run_layers`,
which the Keras network (`recurrent_network`) and the step share. A state is a tuple with one tuple
of float32 arrays [B, U] per layer: h, and c for an LSTM.

In a step, the product of the embedding and the first kernel is precomputed as a lookup table. With
one-hot vectors, the table is the first kernel itself.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from shakespeare_gen.errors import UsageError
from shakespeare_gen.models import states
from shakespeare_gen.models.cells import CELLS, Cell, added_product, rows
from shakespeare_gen.models.language_model import LanguageModel, StepwiseModel
from shakespeare_gen.models.network_options import NetworkOptions
from shakespeare_gen.models.specs import Spec
from shakespeare_gen.options import option

MAX_UNITS = 16384
_CACHE_LINE_BYTES = 64


class RecurrentOptions(NetworkOptions):
    """The network: Embedding or one-hot vectors, recurrent layers, Dense."""

    TITLE = "Model"

    cell: str = option("lstm", "recurrent cell", choices=CELLS)
    units: int = option(256, "units per recurrent layer", minimum=1, maximum=MAX_UNITS)
    embedding_size: int = option(
        64,
        "width of the embedding; 0: none, the first layer reads one-hot vectors",
        minimum=0,
        maximum=MAX_UNITS,
    )
    weight_dropout: float = option(
        0.0,
        "dropout rate of the recurrent kernels, with one mask per batch",
        minimum=0,
        below=1,
    )
    residual: bool = option(
        False, "add the input of each recurrent layer except the first to its output"
    )

    def check_combinations(self) -> None:
        has_recurrent_kernel = "recurrent_kernel" in CELLS[self.cell].weight_shapes(1, 1)
        if self.weight_dropout and not has_recurrent_kernel:
            raise UsageError(
                f"weight_dropout: expected 0 with `cell={self.cell}`, which has no recurrent "
                f"kernel, received {self.weight_dropout:g}"
            )


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """One recurrent layer."""

    name: str
    cell: str
    input_size: int
    units: int
    is_residual: bool

    @functools.cached_property
    def definition(self) -> Cell:
        """The cell of the layer."""
        return CELLS[self.cell]

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight of the layer."""
        return self.definition.weight_shapes(self.input_size, self.units)


@dataclasses.dataclass(frozen=True)
class RecurrentSpec(Spec):
    """The spec of the network with the given options."""

    family = "recurrent"
    size_options = ("units", "num_layers", "embedding_size")

    vocabulary_size: int
    options: RecurrentOptions

    @property
    def weight_dropout(self) -> float:
        return self.options.weight_dropout

    @property
    def input_size(self) -> int:
        """The width of the embedding or of one-hot vectors."""
        return self.options.embedding_size or self.vocabulary_size

    @functools.cached_property
    def layers(self) -> tuple[LayerSpec, ...]:
        """The recurrent layers, first to last."""
        o = self.options
        return tuple(
            LayerSpec(
                f"{o.cell}_{i}",
                o.cell,
                self.input_size if i == 1 else o.units,
                o.units,
                o.residual and i > 1,
            )
            for i in range(1, o.num_layers + 1)
        )

    def weight_shapes(self):
        embedding_size = self.options.embedding_size
        embedding = {"embedding/embeddings": (self.vocabulary_size, embedding_size)}
        return {
            **(embedding if embedding_size else {}),
            **{
                f"{layer.name}/{name}": shape
                for layer in self.layers
                for name, shape in layer.weight_shapes().items()
            },
            "logits/kernel": (self.options.units, self.vocabulary_size),
            "logits/bias": (self.vocabulary_size,),
        }

    def state_shapes(self, batch_size):
        return [
            (batch_size, layer.units) for layer in self.layers for _ in layer.definition.state_parts
        ]

    def state_names(self):
        return [
            f"{layer.name}_{part}" for layer in self.layers for part in layer.definition.state_parts
        ]

    def initial_state(self, xp, batch_size) -> tuple:
        """The state before any id is read: zeros."""
        return tuple(
            tuple(
                xp.zeros([batch_size, layer.units], xp.float32)
                for _ in layer.definition.state_parts
            )
            for layer in self.layers
        )


def run_layers(
    layers: Sequence[LayerSpec], x, state: Sequence, run: Callable[[LayerSpec, Any, Any], tuple]
) -> tuple[Any, tuple]:
    """Runs a stack of layers: x, state -> y, state.

    Args:
      run: one layer, `(layer, x, its state) -> y, its state`.
    """
    new_state = []
    for layer, part in zip(layers, state, strict=True):
        y, new_part = run(layer, x, part)
        x = x + y if layer.is_residual else y
        new_state.append(new_part)
    return x, tuple(new_state)


@dataclasses.dataclass(frozen=True)
class RecurrentStep:
    """The step of a recurrent model; see `LanguageModel.step_function`.

    Attributes:
      in_bfloat16: whether the products are computed in bfloat16; see `LanguageModel.in_bfloat16`.
    """

    spec: RecurrentSpec
    xp: Any
    in_bfloat16: bool = False

    def weights(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """The weights by name, laid out for the step."""
        xp = self.xp
        layers: dict[str, dict[str, Any]] = {}
        for layer in self.spec.layers:
            own = {name: weights[f"{layer.name}/{name}"] for name in layer.weight_shapes()}
            own = layer.definition.for_step(xp, own)
            bias = layer.definition.input_bias(own)
            kernel = own["kernel"]
            if not layers:
                if self.spec.options.embedding_size:
                    kernel = xp.matmul(weights["embedding/embeddings"], kernel)
                layers[layer.name] = {"table": kernel + bias}
            else:
                layers[layer.name] = {"kernel": xp.transpose(kernel), "bias": bias}
            layers[layer.name]["cell"] = layer.definition.step_weights(xp, own)
        logits = {"kernel": xp.transpose(weights["logits/kernel"]), "bias": weights["logits/bias"]}
        found = {"layers": layers, "logits": logits}
        return _narrowed(found) if self.in_bfloat16 else found

    def __call__(self, weights, ids, state) -> tuple[Any, tuple]:
        logits, state, _ = self.with_outputs(weights, ids, state)
        return logits, state

    def with_outputs(self, weights, ids, state) -> tuple[Any, tuple, list]:
        """A step that also returns the output of each layer, [B, U], first to last."""
        xp, outputs = self.xp, []

        def run(layer, x, part):
            own = weights["layers"][layer.name]
            if "table" in own:  # the first layer reads ids
                projected = rows(xp, own["table"], x)
            else:
                projected = added_product(xp, own["bias"], x, own["kernel"])
            y, part = layer.definition.step(xp, projected, part, own["cell"])
            outputs.append(y)
            return y, part

        y, state = run_layers(self.spec.layers, ids, state, run)
        last = weights["logits"]
        return added_product(xp, last["bias"], y, last["kernel"]), state, outputs


def _narrowed(weights: dict[str, Any]) -> dict[str, Any]:
    """Step weights with the matrices of products in bfloat16."""
    import tensorflow as tf

    return {
        name: _narrowed(value)
        if isinstance(value, dict)
        else tf.cast(value, tf.bfloat16)
        if name.endswith("kernel")
        else value
        for name, value in weights.items()
    }


def gate_values(spec: RecurrentSpec, xp, weights: Mapping[str, Any], ids, hidden) -> dict[str, Any]:
    """The values of all gates at the start of a text, by name such as `lstm_1/forget`: [B, T, U].

    Args:
      ids: [B, T].
      hidden: the outputs of all layers after each id, [B, T, layers U].
    """
    found: dict[str, Any] = {}
    x, begin = None, 0
    for layer in spec.layers:
        own = {name: weights[f"{layer.name}/{name}"] for name in layer.weight_shapes()}
        y = hidden[..., begin : begin + layer.units]
        before = xp.concatenate([xp.zeros_like(y[:, :1]), y[:, :-1]], 1)
        projected = _product_with_input(spec, xp, weights, x, own["kernel"], ids)
        projected = projected + layer.definition.input_bias(own)
        values = layer.definition.gate_values(xp, projected, before, own)
        found |= {f"{layer.name}/{gate}": value for gate, value in values.items()}
        x, begin = x + y if layer.is_residual else y, begin + layer.units
    return found


def _product_with_input(spec: RecurrentSpec, xp, weights: Mapping[str, Any], x, kernel, ids):
    """The product of the input of a layer and its kernel; x is None for the first layer."""
    if x is not None:
        return xp.matmul(x, kernel)
    if spec.options.embedding_size:
        kernel = xp.matmul(weights["embedding/embeddings"], kernel)
    return xp.take(kernel, ids, axis=0)


def build(spec: RecurrentSpec, precision: str = "float32", kernel: str = "auto") -> LanguageModel:
    """A TensorFlow model with newly initialized weights."""
    from shakespeare_gen.models import recurrent_network

    return recurrent_network.RecurrentModel(spec, precision, kernel)


class NumpyRecurrentModel(StepwiseModel):
    """A recurrent network in NumPy with the given weights."""

    def __init__(self, spec: RecurrentSpec, weights: Mapping[str, np.ndarray]) -> None:
        self.spec, self._step = spec, RecurrentStep(spec, np)
        laid_out = states.map_arrays(_aligned, self._step.weights(weights))
        first_state = functools.partial(spec.initial_state, np)
        super().__init__(self._step, dict(weights), laid_out, first_state, np)

    def hidden(self, ids, state=None):
        ids = np.asarray(ids)
        state = self.initial_state(len(ids)) if state is None else state
        found = []
        for t in range(ids.shape[1]):
            _, state, outputs = self._step.with_outputs(self.step_weights(), ids[:, t], state)
            found.append(np.concatenate(outputs, -1))
        return np.stack(found, 1), state

    def gate_values(self, ids):
        ids = np.asarray(ids)
        return gate_values(self.spec, np, self.weights, ids, self.hidden(ids)[0])


def _aligned(array: np.ndarray) -> np.ndarray:
    """The same matrix in the same order, starting at a cache line.

    NumPy aligns to 16 bytes only. With 256 units the recurrent product then takes 14 us instead of
    9 (Intel Xeon with AVX-512), because every vector of 64 bytes is read from two lines.
    """
    in_rows = array if array.flags.c_contiguous else array.T
    buffer = np.empty(in_rows.nbytes + _CACHE_LINE_BYTES, np.uint8)
    begin = -buffer.ctypes.data % _CACHE_LINE_BYTES
    found = buffer[begin : begin + in_rows.nbytes].view(array.dtype).reshape(in_rows.shape)
    found[...] = in_rows
    return found if array.flags.c_contiguous else found.T


def from_arrays(spec: RecurrentSpec, weights: Mapping[str, np.ndarray]) -> LanguageModel:
    """A NumPy model with the given weights."""
    return NumpyRecurrentModel(spec, weights)
