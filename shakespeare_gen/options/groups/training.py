"""The options of a training run."""

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options.fields import OptionGroup, option
from shakespeare_gen.options.groups.limits import KERNELS, MAX_CLIP, MAX_FLOAT32, MAX_SEED


class ComputeOptions(OptionGroup):
    """How the network is computed; these options do not affect the form of the weights."""

    TITLE = "Computation"

    kernel: str = option(
        "auto",
        "time loop of the recurrent layers: fused (the kernels of this package), keras, or auto "
        "(the faster of the two on this device)",
        choices=KERNELS,
    )
    precision: str = option(
        "auto",
        "data type of the matrix products; auto: bfloat16 if the processor supports it",
        choices=("auto", "float32", "bfloat16"),
    )


class OptimizerOptions(OptionGroup):
    """The optimizer, its learning rate schedule and gradient clipping."""

    TITLE = "Optimizer"

    optimizer: str = option(
        "adamw", "optimizer", choices=("adam", "adamw", "rmsprop", "adagrad", "sgd")
    )
    learning_rate: float = option(
        0.002, "learning rate after the warm-up", above=0, maximum=MAX_FLOAT32
    )
    schedule: str = option(
        "cosine",
        "learning rate schedule",
        choices=("constant", "cosine", "exponential", "epoch_decay"),
    )
    warmup_steps: int = option(100, "steps of linear warm-up from 0", minimum=0)
    final_learning_rate: float = option(
        0.0,
        "learning rate at the last step of the cosine and exponential schedules",
        minimum=0,
    )
    decay_per_epoch: float = option(
        0.97, "factor of the learning rate per epoch with epoch_decay", above=0, maximum=1
    )
    decay_after_epochs: int = option(
        10, "epochs at the full learning rate before epoch_decay begins", minimum=0
    )
    weight_decay: float = option(
        0.0, "decoupled weight decay; biases and the gains of norms are excluded", minimum=0
    )
    beta_2: float = option(0.99, "second-moment decay of adam and adamw", minimum=0, below=1)
    rho: float = option(0.9, "decay of the squared gradients of rmsprop", minimum=0, below=1)
    momentum: float = option(0.0, "momentum of sgd and rmsprop", minimum=0, below=1)
    epsilon: float = option(
        1e-7,
        "number that keeps adam, adamw, rmsprop and adagrad from dividing by 0; the last two add "
        "it under the square root",
        above=0,
        maximum=1,
    )
    initial_accumulator: float = option(
        0.1, "sum of squared gradients that adagrad starts with", minimum=0, maximum=MAX_FLOAT32
    )
    clip_norm: float = option(
        1.0, "maximum global gradient norm; 0: off", minimum=0, maximum=MAX_CLIP
    )
    clip_value: float = option(
        0.0, "maximum absolute value of a gradient element; 0: off", minimum=0, maximum=MAX_CLIP
    )

    def check_combinations(self) -> None:
        if self.clip_norm and self.clip_value:
            raise UsageError(
                "`clip_norm` and `clip_value`: expected one of them to be 0, "
                f"received {self.clip_norm:g} and {self.clip_value:g}"
            )
        if self.schedule == "exponential" and not self.final_learning_rate:
            raise UsageError(
                "final_learning_rate: expected more than 0 with `schedule=exponential`, received 0"
            )


class TrainingOptions(OptionGroup):
    """How long to train, when to save and when to generate samples."""

    TITLE = "Training"

    auto_size: bool = option(
        False,
        "choose units, embedding_size, dropout, carry_state, batch_size, window_chars, epochs, "
        "patience, warmup_steps and learning_rate by the length of the training text, unless they "
        "are given",
    )
    initialize_from: str = option(
        "",
        "run folder or pretrained model whose weights training starts from; the network and the "
        "tokens are those of that run, and new characters get new weights",
    )
    teachers: tuple[str, ...] = option(
        (),
        "run folders, separated by commas, whose mean probabilities are targets of training too "
        "(knowledge distillation)",
    )
    teacher_weight: float = option(
        0.5, "share of the teachers' probabilities in the targets", minimum=0, maximum=1
    )
    epochs: int = option(20, "number of epochs", minimum=1)
    patience: int = option(
        0,
        "stop after this many epochs without improvement of the validation loss; 0: never",
        minimum=0,
    )
    seed: int = option(
        0, "random seed of weights, windows and dropout", minimum=0, maximum=MAX_SEED
    )
    save_every_steps: int = option(
        0, "steps between checkpoints within an epoch; 0: off", minimum=0
    )
    save_every_minutes: float = option(
        10.0, "minutes between checkpoints within an epoch; 0: off", minimum=0
    )
    keep_checkpoints: int = option(
        2, "number of most recent checkpoints to keep, in addition to the best one", minimum=1
    )
    sample_every_epochs: int = option(1, "epochs between samples; 0: no samples", minimum=0)
    sample_every_steps: int = option(
        0, "steps between samples within an epoch; 0: no samples", minimum=0
    )
    sample_chars: int = option(200, "tokens (characters by default) per sample", minimum=1)
    log_every_steps: int = option(
        50,
        "steps between rows of loss, smoothed loss, learning rate, gradient norm and update size "
        "in metrics.jsonl, twice as many after 20,000 rows and so on; 0: one row per epoch",
        minimum=0,
    )
    log_internals: bool = option(
        False,
        "add to the rows of steps, by layer, the gradient norm and the update size, and the share "
        "of gate values that are saturated, and draw them in internals.png",
    )
    tensorboard: bool = option(False, "write TensorBoard logs to the run folder")


class RunOptions(OptionGroup):
    """The folder of the run to train."""

    TITLE = "Run folder"

    run_dir: str = option("runs/default", "run folder")


class SweepOptions(OptionGroup):
    """Several runs that differ only in the seed."""

    TITLE = "Several seeds"

    seeds: tuple[int, ...] = option(
        (),
        "seeds of several runs, separated by commas: one run each, in a folder with the name "
        "run_dir-seed-N; empty: a single run",
        minimum=0,
        maximum=MAX_SEED,
    )
    num_parallel: int = option(
        1,
        "number of runs that are trained at the same time, each on its share of the cores",
        minimum=1,
        maximum=1024,
    )

    def check_combinations(self) -> None:
        if len(set(self.seeds)) < len(self.seeds):
            raise UsageError(f"seeds: expected different seeds, received {self.seeds}")


class TuneOptions(OptionGroup):
    """A study: many runs, whose options are drawn from a search space."""

    TITLE = "Study"

    study_dir: str = option(
        "runs/study",
        "folder of the study, with a run folder for each trial; a study that exists is continued",
    )
    space: str = option(
        "",
        "search space: a JSON file of flags with their bounds or choices, or the name of one of "
        "this package; empty: that of the study",
    )
    trials: int = option(
        30, "number of trials of the study; 0: show the results so far", minimum=0, maximum=100_000
    )
    sampler: str = option(
        "tpe",
        "how the options of a trial are drawn: tree-structured Parzen estimator, at random, or "
        "every combination",
        choices=("tpe", "random", "grid"),
    )
    sampler_seed: int = option(
        0,
        "random seed of the sampler, which also takes the trial into account",
        minimum=0,
        maximum=MAX_SEED,
    )
    pruner: str = option(
        "median",
        "which trials end early, by their validation loss after each epoch; with several seeds, by "
        "that of the first",
        choices=("none", "median", "hyperband"),
    )
    trial_minutes: float = option(
        0.0, "minutes after which a trial ends with its next epoch; 0: no limit", minimum=0
    )
    max_hours: float = option(
        0.0,
        "hours after which the command starts no trial, and ends the current one with its next "
        "epoch; 0: no limit",
        minimum=0,
    )
    storage: str = option(
        "",
        "database of the study, such as postgresql+psycopg://user@host/name, for workers on "
        "several machines; empty: a journal file in study_dir, for workers on one machine",
    )
    heartbeat_seconds: int = option(
        30,
        "seconds between signs of life in the database; the trial of a worker that gives none for "
        "three times as long is started again",
        minimum=1,
        maximum=86_400,
    )

    def check_combinations(self) -> None:
        if not self.study_dir:
            raise UsageError("study_dir: expected a folder, received none")


class StartOptions(OptionGroup):
    """What to do if the run folder already contains a run."""

    TITLE = "Start"

    resume: bool = option(False, "resume the run in run_dir with its saved options")
    overwrite: bool = option(False, "delete the run in run_dir and start a new one")

    def check_combinations(self) -> None:
        if self.resume and self.overwrite:
            raise UsageError("`resume` and `overwrite`: expected one of them, received both")
