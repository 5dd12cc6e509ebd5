"""The shapes of a network's weights, from its options alone.

A checkpoint is checked against these before anything is built or read.
`model.build` makes the same weights; a test holds the two together. Standard
library only.
"""

import math

from shakespeare_gen.errors import UserError

MAX_PARAMETERS = 10**9  # 4 GB of weights: far more than characters need, read in seconds

_GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1, "min_gru": 2, "min_lstm": 3}
_WITHOUT_RECURRENT_KERNEL = ("min_gru", "min_lstm")


def weight_shapes(
    vocabulary_size: int,
    cell: str,
    units: int,
    num_layers: int,
    embedding_size: int,
    **_,
) -> dict[str, tuple[int, ...]]:
    """Shape of every weight by its name, `lstm_1/kernel`; takes `config.ModelOptions`'s options.

    Raises:
      UserError: they are more than `MAX_PARAMETERS`.
    """
    shapes: dict[str, tuple[int, ...]] = {"embedding/embeddings": (vocabulary_size, embedding_size)}
    features, width = embedding_size, _GATES[cell] * units
    for i in range(1, num_layers + 1):
        shapes[f"{cell}_{i}/kernel"] = (features, width)
        if cell not in _WITHOUT_RECURRENT_KERNEL:
            shapes[f"{cell}_{i}/recurrent_kernel"] = (units, width)
        # Keras's GRU has a bias for the inputs and one for the state.
        shapes[f"{cell}_{i}/bias"] = (2, width) if cell == "gru" else (width,)
        features = units
    shapes["logits/kernel"] = (units, vocabulary_size)
    shapes["logits/bias"] = (vocabulary_size,)
    if num_parameters(shapes) > MAX_PARAMETERS:
        raise UserError(
            f"model: expected at most {MAX_PARAMETERS:,} parameters, received "
            f"{num_parameters(shapes):,}; --units and --num_layers decide"
        )
    return shapes


def num_parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    """How many numbers the weights are."""
    return sum(math.prod(shape) for shape in shapes.values())
