"""Chooses options by the length of the training text, and warns of too few updates.

A short text needs a small batch, many epochs and much dropout; a long one a larger network and few
epochs. The choices were made on validation text only, for pieces of `corpus=plays` of 20 kB, 200 kB
and 2 MB. Options that the user gives are never changed, and the chosen values are stored with the
run. Knows nothing about text; does not import TensorFlow.

    options = sizing.resolve(options, num_tokens=180_000)
"""

import math
from typing import Any

from shakespeare_gen.data.windows import Plan
from shakespeare_gen.errors import UsageError
from shakespeare_gen.models import ModelOptions
from shakespeare_gen.options import Options, help_pages, spelling
from shakespeare_gen.options.groups import OptimizerOptions, TrainingOptions

MIN_UPDATES = 500  # with fewer, a network learns little more than the frequencies of tokens


# The learning rate and the warm-up suit AdamW with a cosine schedule, as in `flags/own_text.cfg`.
# By the largest number of training tokens.
SIZES: dict[float, dict[str, Any]] = {
    60_000: dict(
        units=384,
        embedding_size=256,
        dropout=0.75,
        carry_state=False,
        batch_size=8,
        window_chars=32,
        epochs=30,
        patience=8,
        warmup_steps=50,
        learning_rate=0.004,
    ),
    300_000: dict(
        units=384,
        embedding_size=256,
        dropout=0.6,
        carry_state=True,
        batch_size=16,
        window_chars=64,
        epochs=14,
        patience=3,
        warmup_steps=100,
        learning_rate=0.004,
    ),
    1_000_000: dict(
        units=512,
        embedding_size=128,
        dropout=0.4,
        carry_state=True,
        batch_size=32,
        window_chars=64,
        epochs=10,
        patience=3,
        warmup_steps=100,
        learning_rate=0.004,
    ),
    8_000_000: dict(
        units=512,
        embedding_size=128,
        dropout=0.1,
        carry_state=True,
        batch_size=64,
        window_chars=64,
        epochs=4,
        patience=2,
        warmup_steps=200,
        learning_rate=0.004,
    ),
    math.inf: dict(
        units=768,
        embedding_size=128,
        dropout=0.0,
        carry_state=True,
        batch_size=128,
        window_chars=128,
        epochs=2,
        patience=0,
        warmup_steps=200,
        learning_rate=0.002,
    ),
}
# Weights that are trained already need small steps, and are spoiled by much dropout: on 20 kB of
# Hamlet, the validation loss was 1.546 nats with these limits, 1.638 with half the learning rate
# above and its dropout, and 1.925 from random weights.
MOST_FOR_TRAINED = {"learning_rate": 0.0005, "dropout": 0.3}


def resolve(options: Options, num_tokens: int, has_validation: bool = True) -> Options:
    """`options` with the values for a training text of `num_tokens`, if `auto_size` is on.

    Args:
      has_validation: whether there is validation text, which early stopping needs.
    """
    if not options[TrainingOptions].auto_size:
        return options
    family = options[ModelOptions].model
    if family != "recurrent":  # the sizes below were found with recurrent networks
        raise UsageError(f"auto_size: expected to be used with `model=recurrent`, not {family}")
    values = dict(next(v for max_tokens, v in SIZES.items() if num_tokens <= max_tokens))
    if options[TrainingOptions].initialize_from:
        values |= {name: min(values[name], most) for name, most in MOST_FOR_TRAINED.items()}
    if not has_validation:
        values["patience"] = 0
    known = options.by_name()
    return options.replaced(
        **{n: value for n, value in values.items() if n in known and n not in options.given}
    )


def chosen(options: Options) -> str:
    """The values of all options that depend on the size, as one line."""
    known = options.by_name()
    values = {name: known[name] for name in SIZES[math.inf] if name in known}
    return ", ".join(f"{name}={help_pages.shown(value)}" for name, value in values.items())


def too_few_updates(plan: Plan, options: Options) -> str | None:
    """A warning if there are too few updates to learn; None otherwise."""
    training = options[TrainingOptions]
    num_updates = training.epochs * plan.steps_per_epoch
    warmup_steps = options[OptimizerOptions].warmup_steps
    if num_updates >= MIN_UPDATES:
        if num_updates > warmup_steps:
            return None
        return (
            f"warmup_steps: expected fewer than the {num_updates:,} updates of this run, received "
            f"{warmup_steps:,}; the learning rate never reaches its value"
        )
    automatic = "" if training.auto_size else ", or `auto_size`, which chooses them"
    epochs = spelling.count(training.epochs, "epoch")
    steps = spelling.count(plan.steps_per_epoch, "step")
    return (
        f"{num_updates:,} updates ({epochs} of {steps}): "
        f"expected at least {MIN_UPDATES} for a network to learn; "
        f"try `epochs={math.ceil(MIN_UPDATES / plan.steps_per_epoch)}`, a smaller `batch_size` or "
        f"`window_chars`{automatic}"
    )
