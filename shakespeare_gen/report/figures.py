"""Figures of matplotlib: an empty one, its texts, and its file. Knows no data."""

import io
from typing import Any

from shakespeare_gen.system import logs


def empty(width: float, height: float) -> Any:
    """A figure without panels; the sizes are in inches."""
    with logs.errors_only("matplotlib"):  # it reports its font cache
        import matplotlib.figure

    return matplotlib.figure.Figure(figsize=(width, height), layout="constrained")


def text(text: str) -> str:
    """Text as a label: matplotlib reads text between dollar signs as a formula, and leaves a label
    that starts with an underscore out of the legend."""
    return text.replace("$", r"\$").replace("_", " _", text.startswith("_"))


def saved(figure: Any, kind: str) -> bytes:
    """A figure as a file of type `png` or `svg`."""
    import matplotlib

    picture = io.BytesIO()
    # Text is stored as text, and equal figures give equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "shakespeare_gen"}):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(picture, format=kind, dpi=120, metadata=metadata)
    return picture.getvalue()
