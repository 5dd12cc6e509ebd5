"""Pictures of a run; knows the rows of `metrics.jsonl` and nothing of models."""

import io
import logging
import pathlib
from typing import Any

from shakespeare_gen import storage
from shakespeare_gen.metrics import bits_per_character


def loss_curve(rows: list[dict], path: pathlib.Path) -> None:
    """Draws training and validation loss over the epochs as a PNG."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its font cache
    import matplotlib.figure
    import matplotlib.ticker

    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for key, label in (("loss", "training"), ("validation_loss", "validation")):
        points = [(row["epoch"], row[key]) for row in rows if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), marker=".", label=label)
    axes.set(xlabel="epoch", ylabel="loss (nats per character)")
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    to_bits: Any = bits_per_character
    right = axes.secondary_yaxis("right", functions=(to_bits, lambda bits: bits / to_bits(1)))
    right.set_ylabel("bits per character")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    storage.write(path, picture.getvalue())
