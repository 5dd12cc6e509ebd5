"""Reads a text with the `model.py` of an exported folder, in a process of its own.

    python -I measure.py FOLDER IDS.npy RESULT.npz

Saves the logits after every step, those of one call of `read` where the model has one, and how
long both took. Importing the package that wrote the folder is an error.
"""

import sys
import time

import numpy as np

MAX_READ_TOKENS = 512  # of one call of `read`
PACKAGE = "shakespeare_gen"


class _Refusal:
    """An importer that refuses the package."""

    def find_spec(self, name, path=None, target=None):
        """Raises `ImportError` for the package; for any other name, the next importer is asked."""
        if name.split(".")[0] == PACKAGE:
            raise ImportError(f"the export imports {PACKAGE}")


def measure(model, ids) -> dict:
    """Logits [N, V] of ids [N], one step at a time and in calls of `read`, with the seconds."""
    model.step(ids[:1], model.start())  # the first call may compile
    logits, state, began = [], model.start(), time.perf_counter()
    for i in range(len(ids)):
        row, state = model.step(ids[i : i + 1], state)
        logits.append(row[0])
    found = {"logits": np.stack(logits), "step_seconds": time.perf_counter() - began}
    if getattr(model, "read", None) is None:  # one token in a call
        return found
    parts = [ids[None, i : i + MAX_READ_TOKENS] for i in range(0, len(ids), MAX_READ_TOKENS)]
    model.read(parts[0], model.start())
    rows, state, began = [], model.start(), time.perf_counter()
    for part in parts:
        several, state = model.read(part, state)
        rows.append(several[0])
    seconds = time.perf_counter() - began
    return {**found, "read_logits": np.concatenate(rows), "read_seconds": seconds}


def main(folder, ids_path, result_path) -> None:
    """Measures the model of a folder."""
    sys.meta_path.insert(0, _Refusal())
    sys.path.insert(0, folder)
    import model

    found = measure(model.Model(), np.load(ids_path))
    modules = sorted({name.split(".")[0] for name in sys.modules})
    np.savez(result_path, modules=np.array(modules), runtime=np.array(model.RUNTIME), **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
