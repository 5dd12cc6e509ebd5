"""Continues a prompt with the model of this folder.

    python generate.py "ROMEO:" 300 0.8 1    # prompt, number of tokens, temperature, seed

The same seed gives the text of `shakespeare_gen.generate` on its NumPy engine, as far as the model
of this folder gives the same logits.
"""

import json
import pathlib
import sys

import numpy as np
from model import Model
from tokenizer import Tokenizer

WHOLE = np.float32(2**22)
CONFIG = json.loads((pathlib.Path(__file__).parent / "config.json").read_text("utf-8"))


def draw(logits, temperature: float, uniform: float) -> int:
    """An id at the place `uniform`, in [0, 1), of the distribution of logits [V]."""
    logits = logits.astype(np.float32)
    logits[CONFIG["forbidden_ids"]] = -np.inf
    if not temperature:
        return int(logits.argmax())
    powers = np.exp((logits - logits.max()) / np.float32(temperature))
    places = np.floor(powers / powers.sum() * WHOLE + np.float32(0.5)).cumsum()
    place = min(np.floor(np.float32(uniform) * places[-1]), places[-1] - 1)
    return int((places <= place).sum())


def generate(prompt: str, length: int = 300, temperature: float = 0.8, seed: int = 0) -> str:
    """The continuation of a prompt, of at most `length` tokens."""
    model, tokenizer = Model(), Tokenizer()
    random = np.random.Generator(np.random.Philox(key=(seed, 0)))
    unread = tokenizer.encode(prompt) or [CONFIG["start_id"]]
    ids: list[int] = []
    state = model.start()
    while len(ids) < length:
        for token in unread:
            logits, state = model.step(np.array([token], np.int32), state)
        drawn = draw(logits[0], temperature, random.random(dtype=np.float32))
        if drawn == CONFIG["end_id"]:
            break
        ids.append(drawn)
        unread = [drawn]
    return tokenizer.decode(ids)


def main(prompt: str = "", length: str = "300", temperature: str = "0.8", seed: str = "0") -> None:
    """Prints the prompt and its continuation."""
    print(prompt + generate(prompt, int(length), float(temperature), int(seed)))


if __name__ == "__main__":
    main(*sys.argv[1:])
