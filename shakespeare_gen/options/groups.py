"""The options that do not belong to a single component, in typed groups.

The options of a component are defined next to it: those of a tokenizer in `data.tokenizers`, of a
model family in `models`, of a sampling transform in `generation.sampling`. Flags, `config.json`
and the tables of the README are generated from these fields.

    >>> WindowOptions(batch_size=0)
    UsageError: batch_size: expected at least 1, received 0
"""

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options.fields import OptionGroup, option

MAX_SEED = 2**31 - 1
MAX_FLOAT32 = 3.4e38
MAX_CLIP = 1e30  # the inverse of a larger number underflows in float32, and training stands still
ENCODING_ERRORS = ("strict", "replace", "ignore")


class CorpusOptions(OptionGroup):
    """Where the text comes from and how it is split."""

    TITLE = "Corpus"

    corpus: str = option(
        "tiny_shakespeare",
        "tiny_shakespeare, tfds:NAME, plays, or the path of a file, a folder or a glob",
    )
    text_feature: str = option("text", "with tfds:NAME: the feature that contains the text")
    data_dir: str = option("", "TFDS data folder; empty: the TFDS default")
    fallback_corpus: str = option(
        "", "corpus to use if the requested one cannot be downloaded; empty: none"
    )
    validation_fraction: float = option(
        0.05, "fraction of the text held out for validation", minimum=0, below=1
    )
    test_fraction: float = option(
        0.05, "fraction of the text held out for testing", minimum=0, below=1
    )
    document_separator: str = option(
        "",
        "text that separates documents, also inserted between files; generation ends at it; "
        "empty: none",
    )
    encoding: str = option("utf-8", "encoding of the text files")
    encoding_errors: str = option(
        "strict", "how to handle bytes that cannot be decoded", choices=ENCODING_ERRORS
    )

    def check_combinations(self) -> None:
        held_out = self.validation_fraction + self.test_fraction
        if held_out >= 1:
            raise UsageError(
                "`validation_fraction` and `test_fraction`: expected a sum less than 1, "
                f"received {held_out:g}"
            )


class WindowOptions(OptionGroup):
    """How the tokens are cut into batches."""

    TITLE = "Windows"

    window_chars: int = option(128, "tokens (characters by default) per window", minimum=1)
    window_stride: int = option(
        0, "tokens between the starts of consecutive windows; 0: window_chars", minimum=0
    )
    batch_size: int = option(64, "windows (or streams) per batch", minimum=1)
    carry_state: bool = option(
        False, "read the text as parallel streams and carry the state from batch to batch"
    )
    random_offset: bool = option(True, "start every epoch at a different position in the text")
    steps_per_epoch: int = option(
        0, "maximum number of steps per epoch; 0: one pass over the text", minimum=0
    )

    def check_combinations(self) -> None:
        if self.carry_state and self.window_stride not in (0, self.window_chars):
            raise UsageError(
                "window_stride: expected 0 with `carry_state` (streams do not overlap), "
                f"received {self.window_stride}"
            )


class EngineOptions(OptionGroup):
    """How the network is computed; these options do not affect the form of the weights."""

    TITLE = "Engine"

    kernel: str = option(
        "auto",
        "time loop of the recurrent layers: fused (the kernels of this package), keras, or auto "
        "(the faster of the two on this device)",
        choices=("auto", "keras", "fused"),
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
        "cosine", "learning rate schedule", choices=("constant", "cosine", "exponential")
    )
    warmup_steps: int = option(100, "steps of linear warm-up from 0", minimum=0)
    final_learning_rate: float = option(
        0.0,
        "learning rate at the last step of the cosine and exponential schedules",
        minimum=0,
    )
    weight_decay: float = option(0.0, "decoupled weight decay; biases are excluded", minimum=0)
    beta_2: float = option(0.99, "second-moment decay of adam and adamw", minimum=0, below=1)
    momentum: float = option(0.0, "momentum of sgd and rmsprop", minimum=0, below=1)
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
    sample_chars: int = option(200, "tokens (characters by default) per sample", minimum=1)
    tensorboard: bool = option(False, "write TensorBoard logs to the run folder")


class RunOptions(OptionGroup):
    """The run folder."""

    TITLE = "Run folder"

    run_dir: str = option("runs/default", "run folder")


class StartOptions(OptionGroup):
    """What to do if the run folder already contains a run."""

    TITLE = "Start"

    resume: bool = option(False, "resume the run in run_dir with its saved options")
    overwrite: bool = option(False, "delete the run in run_dir and start a new one")

    def check_combinations(self) -> None:
        if self.resume and self.overwrite:
            raise UsageError("`resume` and `overwrite`: expected one of them, received both")


class PromptOptions(OptionGroup):
    """The text to continue."""

    TITLE = "Prompt"

    prompt: str = option("", "text to continue; empty, without prompt_path: the start of a line")
    prompt_path: str = option("", "file that contains the prompt; -: standard input")

    def check_combinations(self) -> None:
        if self.prompt and self.prompt_path:
            raise UsageError("`prompt` and `prompt_path`: expected one of them, received both")


class LoadOptions(OptionGroup):
    """Which checkpoint to load, and how to handle characters outside its vocabulary."""

    TITLE = "Model to load"

    checkpoint: str = option("best", "checkpoint to load", choices=("best", "last"))
    unknown: str = option(
        "error",
        "how to handle characters outside the vocabulary: error (unless there is an unknown "
        "token), skip them, or replace them with the nearest known ones",
        choices=("error", "skip", "nearest"),
    )


class GenerationOptions(OptionGroup):
    """How much text to generate, and where it ends."""

    TITLE = "Generation"

    length: int = option(
        500,
        "number of tokens (characters by default) to generate; -1: until interrupted",
        minimum=-1,
    )
    num_samples: int = option(1, "number of texts to generate", minimum=1, maximum=4096)
    num_beams: int = option(
        1,
        "more than 1: beam search for the most likely text, with penalties, instead of sampling",
        minimum=1,
        maximum=256,
    )
    length_penalty: float = option(
        1.0,
        "beams are ranked by log-probability / length ** length_penalty",
        minimum=0,
        maximum=10,
    )
    stop: tuple[str, ...] = option((), "text that ends generation; may be repeated")
    until_line: bool = option(False, "stop at the end of the first non-blank line")
    until_speaker: bool = option(
        False, "stop at the blank line that ends a speech, including the speech of the prompt"
    )
    seed: int = option(
        -1,
        "random seed; the same seed and num_samples give the same text on the same machine; "
        "-1: a new seed each time",
        minimum=-1,
        maximum=MAX_SEED,
    )


class CorpusLocationOptions(OptionGroup):
    """The location of a run's corpus, if it has moved."""

    TITLE = "Corpus"

    corpus: str = option("", "path of the text files that the run was trained on; empty: unchanged")
    data_dir: str = option("", "TFDS data folder; empty: unchanged")


class EvaluationOptions(OptionGroup):
    """The text to score, the protocol and the baselines."""

    TITLE = "Evaluation"

    text_path: str = option(
        "", "text file to score; empty: the validation and test text of the run"
    )
    encoding: str = option("", "encoding of text_path; empty: that of the run's corpus")
    encoding_errors: str = option(
        "strict",
        "how to handle bytes of text_path that cannot be decoded",
        choices=ENCODING_ERRORS,
    )
    include_test: bool = option(
        True, "score the test text too; disable it while you are still choosing between models"
    )
    protocol: str = option(
        "frozen",
        "frozen: score each character once, given all preceding text; windows: also score windows "
        "that start from an empty state, as in many published results",
        choices=("frozen", "windows"),
    )
    num_streams: int = option(
        64,
        "number of parts of the text that are read in parallel; 1: exact for any model, but slow",
        minimum=1,
        maximum=4096,
    )
    window_chars: int = option(
        256, "with protocol=windows: tokens (characters by default) per window", minimum=1
    )
    window_stride: int = option(
        0, "tokens between the starts of consecutive windows; 0: window_chars", minimum=0
    )
    baselines: bool = option(True, "also score n-gram models and compressors")
    output_dir: str = option("", "folder for the report; empty: evaluation in the run folder")

    def check_combinations(self) -> None:
        if self.window_stride > self.window_chars:
            raise UsageError(
                f"window_stride: expected at most `window_chars={self.window_chars}`, "
                f"received {self.window_stride}"
            )


class AdaptationOptions(OptionGroup):
    """Dynamic evaluation: the weights adapt to the text while it is read."""

    TITLE = "Dynamic evaluation"

    adapt: bool = option(False, "update the weights on each segment after scoring it")
    adapt_rule: str = option("rms", "update rule", choices=("rms", "sgd"))
    adapt_rate: float = option(0.0, "step size; 0: the default of the rule", minimum=0)
    adapt_decay: float = option(
        -1.0,
        "decay rate towards the trained weights; -1: the default of the rule",
        minimum=-1,
        maximum=1,
    )
    adapt_segment_chars: int = option(
        40, "tokens (characters by default) between updates", minimum=1
    )
    adapt_tune: bool = option(
        False,
        "tune adapt_rate and adapt_decay on the first 20,000 tokens of the validation text",
    )
    mix: bool = option(
        False, "mix the adapting model with an adapting n-gram model, with weights learned online"
    )

    def check_combinations(self) -> None:
        if -1 < self.adapt_decay < 0:
            raise UsageError(f"adapt_decay: expected 0 to 1, or -1, received {self.adapt_decay}")
        given = {
            "mix": self.mix,
            "adapt_tune": self.adapt_tune,
            "adapt_rate": self.adapt_rate != 0,
            "adapt_decay": self.adapt_decay != -1,
        }
        for name in [name for name, is_given in given.items() if is_given and not self.adapt]:
            raise UsageError(f"{name}: expected to be used with `adapt`")
        if self.adapt_tune and (given["adapt_rate"] or given["adapt_decay"]):
            raise UsageError(
                "adapt_tune: expected to be used without `adapt_rate` and `adapt_decay`"
            )


class ReportOptions(OptionGroup):
    """The generated text and the HTML page of an evaluation."""

    TITLE = "Report"

    sample_chars: int = option(
        20_000,
        "tokens (characters by default) to generate for the copying and loop checks; 0: none",
        minimum=0,
        maximum=10_000_000,
    )
    heatmap_chars: int = option(
        20_000,
        "tokens (characters by default) in the heatmap of the page",
        minimum=0,
        maximum=50_000,
    )
    sample_seed: int = option(0, "random seed of the generated text", minimum=0, maximum=MAX_SEED)


class ComparisonOptions(OptionGroup):
    """Where to write a comparison of runs."""

    TITLE = "Comparison"

    output: str = option(
        "learning_curves", "path of the figure, without extension; a PNG and an SVG are written"
    )
