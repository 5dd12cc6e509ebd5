"""What to expect of training on a text with the recipe own_text, before it starts.

The speed of matrix products is measured; the rest of a step is estimated. Knows nothing about the
text except its length; does not import TensorFlow.

    forecast("novel.txt", num_tokens=460_000, vocabulary_size=90)
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from shakespeare_gen import models
from shakespeare_gen.data import windows
from shakespeare_gen.errors import UserError
from shakespeare_gen.options import Options, spelling
from shakespeare_gen.options.groups import OptimizerOptions, TrainingOptions, WindowOptions
from shakespeare_gen.system import devices
from shakespeare_gen.training import sizing

RECIPE = "own_text"
# The flags of the recipe that matter here; a test compares them with the file.
RECIPE_OPTIONS = {"auto_size": True}

# A training step has three passes (forward, gradients of inputs, gradients of weights) with two
# operations per weight.
OPERATIONS_PER_WEIGHT = 6
SHARE_OF_PEAK = 0.85
# Processors with bfloat16 products compute a step in this part of the time in float32.
BFLOAT16_SHARE = 0.5
SECONDS_PER_TIME_STEP = 1e-4  # the part of a step that does not depend on the size
SECONDS_PER_EPOCH = 1.0  # validation, sample, checkpoint
SECONDS_TO_START = 20


def forecast(
    corpus: str,
    num_tokens: int,
    vocabulary_size: int,
    has_validation: bool = True,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The command, the settings that it chooses, the number of updates, and the minutes.

    Args:
      num_tokens: the length of the training text.
      given: the options of the corpus, for the command.
    """
    kinds = (*models.groups(), WindowOptions, OptimizerOptions, TrainingOptions)
    options = sizing.resolve(Options.parse(kinds, RECIPE_OPTIONS), num_tokens, has_validation)
    # The corpus comes after the recipe, which sets a corpus itself.
    arguments = {"flagfile": RECIPE, **(given or {}), "corpus": corpus, "run_dir": "runs/mine"}
    found: dict[str, Any] = {
        "recipe": spelling.command_line("train", arguments),
        "settings for this size": sizing.chosen(options),
    }
    try:
        plan = windows.plan(num_tokens, options[WindowOptions])
    except UserError as error:
        return {**found, "problem": str(error)}
    num_parameters = models.spec_of(vocabulary_size, options).num_parameters
    found["parameters"] = num_parameters
    found["updates"] = options[TrainingOptions].epochs * plan.steps_per_epoch
    if warning := sizing.too_few_updates(plan, options):
        found["problem"] = warning
    return {**found, "expected minutes on this processor": _minutes(num_parameters, plan, options)}


def _minutes(num_parameters: int, plan: windows.Plan, options: Options) -> str:
    is_bfloat16 = devices.has_bfloat16_products() and not devices.has_gpu()
    operations = OPERATIONS_PER_WEIGHT * num_parameters * plan.tokens_per_step
    products = operations / (SHARE_OF_PEAK * operations_per_second())
    step = products * (BFLOAT16_SHARE if is_bfloat16 else 1)
    step += plan.window_chars * SECONDS_PER_TIME_STEP
    epochs = options[TrainingOptions].epochs
    seconds = epochs * (plan.steps_per_epoch * step + SECONDS_PER_EPOCH) + SECONDS_TO_START
    shown = f"{seconds / 60:.0f}" if seconds >= 90 else "1"
    return f"about {shown}, in {'bfloat16' if is_bfloat16 else 'float32'}, without early stopping"


def operations_per_second(size: int = 1024, rounds: int = 5) -> float:
    """The speed of matrix products on this machine, float32, all cores."""
    a = np.ones((size, size), np.float32)
    a @ a
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)
