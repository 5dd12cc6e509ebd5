"""The language model of this folder, computed by TensorFlow.

model = Model()
logits, state = model.step(np.array([0], np.int32), model.start())
"""

import json
import pathlib

import tensorflow as tf

RUNTIME = f"tensorflow {tf.__version__}"


class Model:
    """Predicts the next token from those before it."""

    def __init__(self, folder=pathlib.Path(__file__).parent):
        self.parts = json.loads((folder / "config.json").read_text("utf-8"))["state"]
        self.loaded = tf.saved_model.load(str(folder / "1"))

    def start(self, batch_size=1):
        """The state before any token is read."""
        return [
            tf.fill([batch_size, *part["shape"][1:]], tf.constant(part["initial"], part["dtype"]))
            for part in self.parts
        ]

    def _call(self, signature, ids, state):
        names = [part["name"] for part in self.parts]
        found = self.loaded.signatures[signature](
            ids=tf.constant(ids), **dict(zip(names, state, strict=True))
        )
        return found["logits"].numpy(), [found[f"next_{name}"] for name in names]

    def read(self, ids, state):
        """Reads a sequence: ids [B, T], state -> logits [B, T, V] after each token, state."""
        return self._call("read", ids, state)

    def step(self, ids, state):
        """Reads one token per row: ids [B], state -> logits [B, V], state."""
        return self._call("step", ids, state)
