"""Initial weights at one scale, for any model family; knows only the names and ranks of weights.

The option is one of `network_options.NetworkOptions`; a network calls `rescale` on its new weights.
"""

from collections.abc import Mapping
from typing import Any

from shakespeare_gen.options import option


def scale_option() -> Any:
    """The option `init_scale`, the same in every family."""
    return option(
        0.0,
        "standard deviation of the initial matrices, with biases of 0; 0: as each layer prefers",
        minimum=0,
        maximum=1000,
    )


def rescale(weights: Mapping[str, Any], scale: float) -> None:
    """Assigns normal numbers times `scale` to matrices, and zeros to biases.

    Other vectors, such as the gains of a normalization, are kept. The numbers follow from
    `keras.utils.set_random_seed`.

    Args:
      weights: Keras variables by name, such as `lstm_1/kernel`.
      scale: the standard deviation; 0: nothing is changed.
    """
    if not scale:
        return
    import keras

    # Keras's own generator is reset by `set_random_seed` only in recent versions.
    seed = keras.random.SeedGenerator()
    for name, weight in weights.items():
        if name.endswith("bias"):
            weight.assign(keras.ops.zeros_like(weight))
        elif len(weight.shape) > 1:
            numbers = keras.random.normal(weight.shape, stddev=scale, dtype=weight.dtype, seed=seed)
            weight.assign(numbers)
