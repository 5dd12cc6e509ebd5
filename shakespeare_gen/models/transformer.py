"""The transformer family: Embedding, layers of attention and MLP, RMSNorm, logits.

A decoder with normalization before each part of a layer, rotary positions (`rotary`), RMSNorm
(Zhang and Sennrich 2019, arXiv 1910.07467), and an MLP with SwiGLU (Shazeer 2020, arXiv 2002.05202)
or GELU. Options, shapes and the arithmetic of one step; `transformer_network` computes whole
sequences.

Attention has a sliding window: a position attends to the last `context_tokens` positions, itself
included, so that a text may be endless. A state is a tuple of the position [B, 1], the slot
[B, 1], and for each layer a cache of keys and values [B, H, C, S]. A step writes its rotated key
and its value into the slot, where those of the oldest position were; the next slot follows, the
first one after the last.

Shapes, in addition to those of the folder: W width, H heads, S width of a head, M width of the
MLP, C context_tokens.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from shakespeare_gen.errors import UsageError
from shakespeare_gen.models import rotary
from shakespeare_gen.models.cells import product, sigmoid, split
from shakespeare_gen.models.language_model import LanguageModel, StepwiseModel
from shakespeare_gen.models.network_options import NetworkOptions
from shakespeare_gen.models.specs import Spec
from shakespeare_gen.options import option

MAX_WIDTH = 16384
MAX_CONTEXT_TOKENS = 8192
NORM_EPSILON = np.float32(1e-5)
_GELU_SCALE, _GELU_CUBE = np.float32((2 / np.pi) ** 0.5), np.float32(0.044715)
_HALF, _ONE = np.float32(0.5), np.float32(1)


class TransformerOptions(NetworkOptions):
    """The network: Embedding, attention and MLP in each layer, RMSNorm, logits."""

    TITLE = "Transformer"

    width: int = option(128, "width of the residual stream", minimum=2, maximum=MAX_WIDTH)
    num_heads: int = option(4, "attention heads per layer", minimum=1, maximum=256)
    context_tokens: int = option(
        128,
        "tokens (characters by default) that a position attends to, itself included",
        minimum=2,
        maximum=MAX_CONTEXT_TOKENS,
    )
    mlp: str = option("swiglu", "activation of the MLP", choices=("swiglu", "gelu"))
    tied_embeddings: bool = option(False, "use the embedding as the weights of the logits too")

    @property
    def head_size(self) -> int:
        """The width of a head, S."""
        return self.width // self.num_heads

    @property
    def mlp_size(self) -> int:
        """The width of the MLP, M: the two kinds have about as many weights."""
        return 4 * self.width if self.mlp == "gelu" else 8 * max(round(self.width / 3), 1)

    def check_combinations(self) -> None:
        if self.width % (2 * self.num_heads):
            raise UsageError(
                f"width: expected a multiple of 2 * `num_heads={self.num_heads}`, "
                f"received {self.width}"
            )


@dataclasses.dataclass(frozen=True)
class TransformerSpec(Spec):
    """The spec of a transformer with the given options."""

    family = "transformer"
    size_options = ("width", "num_layers")

    vocabulary_size: int
    options: TransformerOptions

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers, first to last."""
        return tuple(f"layer_{i}" for i in range(1, self.options.num_layers + 1))

    def weight_shapes(self):
        o = self.options
        input_size = o.mlp_size if o.mlp == "gelu" else 2 * o.mlp_size
        shapes = {"embedding/embeddings": (self.vocabulary_size, o.width)}
        for name in self.layer_names:
            shapes |= {
                f"{name}/attention_scale": (o.width,),
                f"{name}/qkv_kernel": (o.width, 3 * o.width),
                f"{name}/attention_output_kernel": (o.width, o.width),
                f"{name}/mlp_scale": (o.width,),
                f"{name}/mlp_input_kernel": (o.width, input_size),
                f"{name}/mlp_output_kernel": (o.mlp_size, o.width),
            }
        shapes["final/scale"] = (o.width,)
        if not o.tied_embeddings:
            shapes["logits/kernel"] = (o.width, self.vocabulary_size)
        return shapes

    def state_shapes(self, batch_size):
        o = self.options
        cache = (batch_size, o.num_heads, o.context_tokens, o.head_size)
        return [(batch_size, 1)] * 2 + [cache] * (2 * o.num_layers)

    def state_names(self):
        caches = [f"{name}_{part}" for name in self.layer_names for part in ("keys", "values")]
        return ["position", "slot", *caches]

    def initial_state(self, xp, batch_size) -> tuple:
        """The state before any id is read: zeros."""
        shapes = self.state_shapes(batch_size)
        position, slot, *caches = (xp.zeros(shape, xp.float32) for shape in shapes)
        return (position, slot, *zip(caches[::2], caches[1::2], strict=True))


def normalized(xp, x):
    """x [..., W] divided by its root mean square; the gain is a factor of the next kernel."""
    return x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + NORM_EPSILON)


def activated(xp, kind: str, x):
    """The activation of the MLP: x [..., M], or with SwiGLU gate and value [..., 2 M]."""
    if kind == "gelu":  # its approximation by tanh, as NumPy has no error function
        inner = _GELU_SCALE * (x + _GELU_CUBE * x * x * x)
        return _HALF * x * (_ONE + xp.tanh(inner))
    gate, value = split(xp, x, 2)
    return gate * sigmoid(xp, gate) * value


@dataclasses.dataclass(frozen=True)
class TransformerStep:
    """The step of a transformer; see `LanguageModel.step_function`."""

    spec: TransformerSpec
    xp: Any

    def weights(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """The weights by name, laid out for the step: transposed, with the gains as factors."""
        layers = [self._layer_weights(weights, name) for name in self.spec.layer_names]
        embeddings, scale = weights["embedding/embeddings"], weights["final/scale"]
        is_tied = self.spec.options.tied_embeddings
        logits = embeddings if is_tied else self.xp.transpose(weights["logits/kernel"])
        return {"embeddings": embeddings, "layers": layers, "logits": logits * scale}

    def _layer_weights(self, weights: Mapping[str, Any], layer: str) -> dict[str, Any]:
        xp, o = self.xp, self.spec.options
        own = {
            name: xp.transpose(weights[f"{layer}/{name}_kernel"])
            for name in ("qkv", "attention_output", "mlp_input", "mlp_output")
        }
        query_scale = np.ones([3 * o.width, 1], np.float32)
        query_scale[: o.width] = o.head_size**-0.5
        own["qkv"] = query_scale * own["qkv"] * weights[f"{layer}/attention_scale"]
        own["mlp_input"] = own["mlp_input"] * weights[f"{layer}/mlp_scale"]
        return own

    def __call__(self, weights, ids, state) -> tuple[Any, tuple]:
        xp, o = self.xp, self.spec.options
        position, slot, *caches = state
        places = self._places(position, slot)
        x, new_caches = xp.take(weights["embeddings"], ids, axis=0), []
        for own, cache in zip(weights["layers"], caches, strict=True):
            y, cache = self._attend(own, normalized(xp, x), cache, places)
            x = x + product(xp, y, own["attention_output"])
            hidden = activated(xp, o.mlp, product(xp, normalized(xp, x), own["mlp_input"]))
            x = x + product(xp, hidden, own["mlp_output"])
            new_caches.append(cache)
        logits = product(xp, normalized(xp, x), weights["logits"])
        return logits, (rotary.advanced(xp, position, np.int32(1)), places.next_slot, *new_caches)

    def _places(self, position, slot) -> "_Places":
        xp, context = self.xp, np.int32(self.spec.options.context_tokens)
        position, slot = xp.asarray(position, xp.int32), xp.asarray(slot, xp.int32)
        ages = slot - np.arange(context, dtype=np.int32)
        ages = xp.where(ages < np.int32(0), ages + context, ages)
        later = xp.where(slot == context - np.int32(1), np.int32(0), slot + np.int32(1))
        return _Places(
            rotary.rotation(xp, position, self.spec.options.head_size),
            (ages == np.int32(0))[:, None, :, None],
            xp.where(ages <= position, np.float32(0), np.float32(-np.inf))[:, None],
            xp.asarray(later, xp.float32),
        )

    def _attend(self, own, x, cache, places: "_Places") -> tuple[Any, tuple]:
        """x [B, W], keys and values [B, H, C, S] -> [B, W], the same with those of x."""
        xp, o = self.xp, self.spec.options
        qkv = xp.reshape(product(xp, x, own["qkv"]), [-1, 3, o.num_heads, o.head_size])
        cosine, sine = (part[:, :, None] for part in places.rotation)  # [B, 1, 1, S / 2]
        turned = rotary.rotated(xp, qkv[:, :2], cosine, sine)
        query, key, value = turned[:, 0], turned[:, 1], qkv[:, 2]
        keys = xp.where(places.is_new, key[:, :, None], cache[0])
        values = xp.where(places.is_new, value[:, :, None], cache[1])
        scores = xp.matmul(keys, query[..., None])[..., 0] + places.mask
        powers = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        shares = powers / xp.sum(powers, axis=-1, keepdims=True)
        y = xp.matmul(shares[:, :, None], values)
        return xp.reshape(y, [-1, o.width]), (keys, values)


@dataclasses.dataclass(frozen=True)
class _Places:
    """What a position means for all layers.

    Attributes:
      rotation: cosines and sines, [B, 1, S / 2].
      is_new: the slot of the cache that is written, [B, 1, C, 1].
      mask: added to the scores, -inf for slots that are still empty, [B, 1, C].
      next_slot: the slot that the next position is written into, [B, 1].
    """

    rotation: tuple[Any, Any]
    is_new: Any
    mask: Any
    next_slot: Any


def build(spec: TransformerSpec, precision: str = "float32", kernel: str = "auto") -> LanguageModel:
    """A TensorFlow model with newly initialized weights; it has a single kernel."""
    del kernel
    from shakespeare_gen.models import transformer_network

    return transformer_network.TransformerModel(spec, precision)


def from_arrays(spec: TransformerSpec, weights: Mapping[str, np.ndarray]) -> LanguageModel:
    """A NumPy model with the given weights."""
    step = TransformerStep(spec, np)
    return StepwiseModel(
        step,
        dict(weights),
        step.weights(weights),
        lambda batch_size: spec.initial_state(np, batch_size),
        np,
    )
