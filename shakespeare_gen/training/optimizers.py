"""Optimizers and learning rate schedules from options. Knows nothing about models."""

import dataclasses
import math

import keras

from shakespeare_gen.options.groups import OptimizerOptions


@dataclasses.dataclass(frozen=True)
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then constant, cosine or exponential until step `num_steps`, or a constant
    that is multiplied by a factor at the beginning of each epoch (`epoch_decay`)."""

    options: OptimizerOptions
    num_steps: int
    steps_per_epoch: int

    def __call__(self, step):
        ops, options = keras.ops, self.options
        # An integer, because float32 cannot count beyond 16,777,216 steps.
        epoch = ops.cast(step, "int64") // self.steps_per_epoch  # the first is 0
        step = ops.cast(step, "float32")
        warmup = ops.minimum((step + 1) / (options.warmup_steps + 1), 1.0)
        decay_steps = max(self.num_steps - options.warmup_steps, 1)
        done = ops.clip((step - options.warmup_steps) / decay_steps, 0.0, 1.0)
        high, low = options.learning_rate, options.final_learning_rate
        if options.schedule == "cosine":
            return warmup * (low + (high - low) * 0.5 * (1 + ops.cos(math.pi * done)))
        if options.schedule == "exponential":
            return warmup * high * (low / high) ** done
        if options.schedule == "epoch_decay":
            num_decays = ops.maximum(epoch + 1 - options.decay_after_epochs, 0)
            return warmup * high * options.decay_per_epoch ** ops.cast(num_decays, "float32")
        return warmup * high


def make_optimizer(
    options: OptimizerOptions, num_steps: int, steps_per_epoch: int
) -> keras.optimizers.Optimizer:
    """A Keras optimizer whose schedule ends at `num_steps`."""
    momentum, epsilon = {"momentum": options.momentum}, {"epsilon": options.epsilon}
    adam = {"beta_2": options.beta_2, **epsilon}
    adagrad = {"initial_accumulator_value": options.initial_accumulator, **epsilon}
    kinds = {
        "adam": (keras.optimizers.Adam, adam),
        "adamw": (keras.optimizers.AdamW, adam),
        "rmsprop": (keras.optimizers.RMSprop, {"rho": options.rho, **momentum, **epsilon}),
        "adagrad": (keras.optimizers.Adagrad, adagrad),
        "sgd": (keras.optimizers.SGD, momentum),
    }
    kind, arguments = kinds[options.optimizer]
    optimizer = kind(
        Schedule(options, num_steps, steps_per_epoch),
        weight_decay=options.weight_decay,
        global_clipnorm=options.clip_norm or None,
        clipvalue=options.clip_value or None,
        **arguments,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "scale"])
    return optimizer


def divergence_advice(options: OptimizerOptions) -> str:
    """What to try after the loss became NaN or infinite, by the most likely cause."""
    if options.weight_decay * options.learning_rate >= 1:
        return (
            f"a weight decay of {options.weight_decay:g} at this learning rate makes the weights "
            "grow; try `weight_decay=0.1`"
        )
    return f"try `learning_rate={options.learning_rate / 3:.2g}`"
