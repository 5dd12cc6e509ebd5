"""The language model of this folder, computed by Keras.

model = Model()
logits, state = model.step(np.array([0], np.int32), model.start())
"""

import pathlib

import keras
import numpy as np

RUNTIME = f"keras {keras.__version__} ({keras.backend.backend()})"


class Model:
    """Predicts the next token from those before it."""

    def __init__(self, folder=pathlib.Path(__file__).parent):
        self.model = keras.saving.load_model(folder / "model.keras", compile=False)
        if self.model.inputs[0].shape[1] == 1:  # one token in a call
            self.read = None

    def start(self, batch_size=1):
        """The state before any token is read."""
        return [np.zeros((batch_size, *x.shape[1:]), np.float32) for x in self.model.inputs[1:]]

    def read(self, ids, state):
        """Reads a sequence: ids [B, T], state -> logits [B, T, V] after each token, state."""
        logits, *state = self.model.predict_on_batch([ids, *state])
        return logits, state

    def step(self, ids, state):
        """Reads one token per row: ids [B], state -> logits [B, V], state."""
        logits, *state = self.model.predict_on_batch([ids[:, None], *state])
        return logits[:, 0], state
