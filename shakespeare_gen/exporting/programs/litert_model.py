"""The language model of this folder, computed by LiteRT; it reads one row.

model = Model()
logits, state = model.step(np.array([0], np.int32), model.start())
"""

import importlib.metadata
import json
import pathlib

import numpy as np
from ai_edge_litert.interpreter import Interpreter

RUNTIME = f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"


class Model:
    """Predicts the next token from those before it."""

    def __init__(self, folder=pathlib.Path(__file__).parent):
        self.parts = json.loads((folder / "config.json").read_text("utf-8"))["state"]
        self.interpreter = Interpreter(str(folder / "model.tflite"), num_threads=1)
        self.signatures = {
            name: self.interpreter.get_signature_runner(name) for name in ("read", "step")
        }

    def start(self):
        """The state before any token is read."""
        return [np.zeros((1, *part["shape"][1:]), part["dtype"]) for part in self.parts]

    def _call(self, signature, ids, state):
        names = [part["name"] for part in self.parts]
        found = self.signatures[signature](ids=ids, **dict(zip(names, state, strict=True)))
        return found["logits"], [found[f"next_{name}"] for name in names]

    def read(self, ids, state):
        """Reads a sequence: ids [1, T], state -> logits [1, T, V] after each token, state."""
        return self._call("read", ids, state)

    def step(self, ids, state):
        """Reads one token: ids [1], state -> logits [1, V], state."""
        return self._call("step", ids, state)
