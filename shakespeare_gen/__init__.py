"""Small language models in Keras 3: train them on text, generate text with them.

    run = shakespeare_gen.train_model(corpus="plays", run_dir="runs/plays", epochs=3)
    generator = shakespeare_gen.load_generator("runs/plays")
    print(generator.generate("ROMEO:", length=200)[0].text)
    figures = shakespeare_gen.evaluate_run("runs/plays")

TensorFlow is imported on first use. Modules at the top level of the package are commands, folders
are libraries; `CONTRIBUTING.md` has a tree with one line per folder.
"""

import os
from typing import Any

# Enables oneDNN's matrix products; TensorFlow reads the variable on import. TensorFlow disables
# them on processors without AVX-512, where they make an LSTM training step 1.5 times faster.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"
__all__ = ["evaluate_run", "load_generator", "train_model"]


def __getattr__(name: str) -> Any:
    if name == "train_model":
        from shakespeare_gen.train import train_model

        return train_model
    if name == "load_generator":
        from shakespeare_gen.runs.loading import load_generator

        return load_generator
    if name == "evaluate_run":
        from shakespeare_gen.evaluate import evaluate_run

        return evaluate_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
