"""Options that all families of neural networks share. Knows no network."""

from shakespeare_gen.models import initialization
from shakespeare_gen.options import OptionGroup, option


class NetworkOptions(OptionGroup):
    """Depth, dropout and initial weights; the base of the option groups of network families."""

    TITLE = "Model"

    num_layers: int = option(1, "number of layers", minimum=1, maximum=64)
    dropout: float = option(
        0.0,
        "dropout rate: of a recurrent network, on the outputs of each layer, with one mask per "
        "window; of a transformer, on the embedding, the attention weights and the output of each "
        "part of a layer",
        minimum=0,
        below=1,
    )
    init_scale: float = initialization.scale_option()
