"""The language model of this folder, computed by ONNX Runtime.

model = Model()
logits, state = model.step(np.array([0], np.int32), model.start())
"""

import pathlib

import numpy as np
import onnxruntime

RUNTIME = f"onnxruntime {onnxruntime.__version__}"


class Model:
    """Predicts the next token from those before it."""

    def __init__(self, folder=pathlib.Path(__file__).parent):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the products of one row are too small to be shared
        providers = ["CPUExecutionProvider"]
        path = str(folder / "model.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers)
        self.parts = self.session.get_inputs()[1:]

    def start(self, batch_size=1):
        """The state before any token is read."""
        return [np.zeros((batch_size, *part.shape[1:]), np.float32) for part in self.parts]

    def read(self, ids, state):
        """Reads a sequence: ids [B, T], state -> logits [B, T, V] after each token, state."""
        given = {part.name: array for part, array in zip(self.parts, state, strict=True)}
        logits, *state = self.session.run(None, {"ids": ids, **given})
        return logits, state

    def step(self, ids, state):
        """Reads one token per row: ids [B], state -> logits [B, V], state."""
        logits, state = self.read(ids[:, None], state)
        return logits[:, 0], state
