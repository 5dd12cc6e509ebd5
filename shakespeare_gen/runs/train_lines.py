"""The sketch of the training text's lines in a run folder: `train_lines.safetensors`.

With it, a text is recognized that the model was trained on, even if the corpus is not at hand.
"""

import os

from absl import logging

from shakespeare_gen.data import line_sketch
from shakespeare_gen.data.line_sketch import LineSketch
from shakespeare_gen.errors import UserError
from shakespeare_gen.runs import tensors
from shakespeare_gen.runs.folder import RunFolder
from shakespeare_gen.runs.run import Run
from shakespeare_gen.system import storage

# A text with a larger share of lines from the training text is not scored. Some lines, such as
# stage directions, occur in many texts.
MAX_SHARE, MIN_FOUND = 0.05, 3
_KINDS: tensors.Kinds = {"line_hashes": ("uint64", (range(line_sketch.MAX_LINES + 1),))}
MAX_HEADER_BYTES = 200
_EARLIER = b'"hashes"'  # the tensor of other hashes, which earlier versions wrote


def write(folder: RunFolder, sketch: LineSketch) -> None:
    """Stores the sketch of a training text."""
    storage.write(folder.train_lines_path, tensors.encode({"line_hashes": sketch.hashes}))


def read(folder: RunFolder) -> LineSketch | None:
    """The sketch of a run; None if the run was made without one, or by an earlier version.

    Raises:
      UserError: the file is damaged.
    """
    path = folder.train_lines_path
    if not os.path.lexists(path):
        return None
    data = storage.read_bytes(path, tensors.max_bytes(_KINDS))
    if _EARLIER in data[:MAX_HEADER_BYTES]:
        logging.warning("%s: has hashes of an earlier version, which are not compared", path)
        return None
    return LineSketch(tensors.decode(data, _KINDS, str(path))["line_hashes"])


def check_is_new(run: Run, text: str, name: str) -> None:
    """Checks that a model was not trained on a text that it is to be scored on.

    Args:
      name: the text, for messages.

    Raises:
      UserError: more than `MAX_SHARE` of the lines of `text` are in the training text of `run`.
    """
    sketch = read(run.folder)
    if sketch is None:
        return
    found = sketch.compare(text)
    if found.num_found >= MIN_FOUND and found.share > MAX_SHARE:
        raise UserError(
            f"{name}: expected a text that {run.name} was not trained on, found "
            f"{found.num_found:,} of {found.num_compared:,} compared lines in its training text"
        )
