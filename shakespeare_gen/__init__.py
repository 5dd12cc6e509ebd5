"""Small language models in Keras 3: train them on text, generate text with them.

    run = shakespeare_gen.train_model(corpus="plays", run_dir="runs/plays", epochs=3)
    generator = shakespeare_gen.load_generator("runs/plays")
    print(generator.generate("ROMEO:", length=200)[0].text)
    figures = shakespeare_gen.evaluate_run("runs/plays")

TensorFlow is imported on first use. Modules at the top level of the package are commands, folders
are libraries; `CONTRIBUTING.md` has a tree with one line per folder.
"""

import importlib
import os
from typing import Any

from shakespeare_gen.errors import (
    CorpusUnavailableError,
    Interrupted,
    NotFiniteError,
    UsageError,
    UserError,
)

# TensorFlow reads these variables on import. oneDNN's matrix products are disabled on processors
# without AVX-512, where they make an LSTM training step 1.5 times faster. Level 2 hides messages
# that are no errors; `system.devices` hides those that come before the level applies.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

__version__ = "0.1.0"
__all__ = [
    "CorpusUnavailableError",
    "Interrupted",
    "NotFiniteError",
    "UsageError",
    "UserError",
    "compare_runs",
    "describe_corpus",
    "evaluate_run",
    "load_generator",
    "surprise_map",
    "train_model",
]

# Functions by the module that defines them; it is imported on first use.
_MODULES = {
    "compare_runs": "shakespeare_gen.compare",
    "describe_corpus": "shakespeare_gen.describe",
    "evaluate_run": "shakespeare_gen.evaluate",
    "load_generator": "shakespeare_gen.runs.loading",
    "surprise_map": "shakespeare_gen.report.surprise",
    "train_model": "shakespeare_gen.train",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from shakespeare_gen.system import logs

    logs.set_up_notebook()
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
