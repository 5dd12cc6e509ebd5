"""Every option of every command: name, type, default, bounds and help text.

One dataclass field is the only place where an option exists. Flags (`cli`),
`config.json` (`runs`) and the README's tables are made from it. What a field
may hold is checked by `option_groups`; here are the few pairs that contradict each other.

    >>> ModelOptions(units=0)
    UsageError: --units: expected at least 1, received 0
"""

import dataclasses

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options.fields import OptionGroup, option


@dataclasses.dataclass(frozen=True)
class CorpusOptions(OptionGroup):
    """Where the text comes from and how it is split."""

    TITLE = "Corpus"

    corpus: str = option(
        "tiny_shakespeare",
        "tiny_shakespeare, tfds:NAME, plays, or a path: a file, a folder or a glob",
    )
    text_feature: str = option("text", "for tfds:NAME, the feature that holds the text")
    data_dir: str = option("", "TFDS's data folder; empty: TFDS's own default")
    fallback_corpus: str = option(
        "", "corpus to use when the first one can't be fetched; empty: none"
    )
    validation_fraction: float = option(
        0.05, "share of the text held out for validation", minimum=0, below=1
    )
    test_fraction: float = option(0.05, "share of the text held out for test", minimum=0, below=1)
    document_separator: str = option(
        "", "text between documents, also put between files; generation ends there; empty: none"
    )
    encoding: str = option("utf-8", "encoding of the text files")
    encoding_errors: str = option(
        "strict", "what to do with undecodable bytes", choices=("strict", "replace", "ignore")
    )

    def check_combinations(self) -> None:
        held_out = self.validation_fraction + self.test_fraction
        if held_out >= 1:
            raise UsageError(
                "--validation_fraction and --test_fraction: expected a sum less than 1, "
                f"received {held_out:g}"
            )


@dataclasses.dataclass(frozen=True)
class VocabularyOptions(OptionGroup):
    """Which characters the model knows."""

    TITLE = "Vocabulary"

    min_count: int = option(
        1, "characters seen fewer times in the training text are pruned", minimum=1
    )
    unknown_id: bool = option(
        False, "keep one id for every character outside the vocabulary, instead of leaving it out"
    )


@dataclasses.dataclass(frozen=True)
class WindowOptions(OptionGroup):
    """How the text is cut into batches."""

    TITLE = "Windows"

    window_chars: int = option(128, "characters in a window", minimum=1)
    window_stride: int = option(
        0, "characters between the starts of two windows; 0: window_chars", minimum=0
    )
    batch_size: int = option(64, "windows (or streams) in a batch", minimum=1)
    carry_state: bool = option(
        False, "read the text as parallel streams and carry the state from batch to batch"
    )
    random_offset: bool = option(True, "start every epoch at another place of the text")
    steps_per_epoch: int = option(
        0, "steps in an epoch at most; 0: as many as the text gives", minimum=0
    )

    def check_combinations(self) -> None:
        if self.carry_state and self.window_stride not in (0, self.window_chars):
            raise UsageError(
                "--window_stride: expected 0 with --carry_state (streams don't overlap), "
                f"received {self.window_stride}"
            )


MAX_REPEAT_WINDOW = 4096
CELLS = ("lstm", "gru", "simple_rnn", "min_gru", "min_lstm")


@dataclasses.dataclass(frozen=True)
class ModelOptions(OptionGroup):
    """The network: Embedding, recurrent layers, Dense."""

    TITLE = "Model"

    cell: str = option("lstm", "recurrent cell", choices=CELLS)
    units: int = option(256, "units of each recurrent layer", minimum=1, maximum=16384)
    num_layers: int = option(1, "recurrent layers", minimum=1, maximum=64)
    embedding_size: int = option(64, "width of the embedding", minimum=1, maximum=16384)
    dropout: float = option(
        0.0,
        "share of each recurrent layer's outputs dropped, one mask a window",
        minimum=0,
        below=1,
    )
    residual: bool = option(
        False, "add each recurrent layer's input to its output, from the second"
    )


@dataclasses.dataclass(frozen=True)
class EngineOptions(OptionGroup):
    """How the network is computed; the weights are the same whatever is chosen."""

    TITLE = "Engine"

    kernel: str = option(
        "auto",
        "time loop of the recurrent layers: ours, Keras's, or the faster one for the device",
        choices=("auto", "keras", "fused"),
    )
    precision: str = option(
        "auto",
        "type of the matrix products; auto: bfloat16 where the processor has it",
        choices=("auto", "float32", "bfloat16"),
    )


@dataclasses.dataclass(frozen=True)
class OptimizerOptions(OptionGroup):
    """The optimizer, its schedule and gradient clipping."""

    TITLE = "Optimizer"

    optimizer: str = option(
        "adamw", "optimizer", choices=("adam", "adamw", "rmsprop", "adagrad", "sgd")
    )
    learning_rate: float = option(0.002, "learning rate after the warm-up", above=0)
    schedule: str = option(
        "cosine", "learning rate over the steps", choices=("constant", "cosine", "exponential")
    )
    warmup_steps: int = option(100, "steps of linear warm-up from 0", minimum=0)
    final_learning_rate: float = option(
        0.0, "learning rate at the last step of cosine and exponential", minimum=0
    )
    weight_decay: float = option(0.0, "decoupled weight decay; biases are left out", minimum=0)
    beta_2: float = option(0.99, "second-moment decay of adam and adamw", minimum=0, below=1)
    momentum: float = option(0.0, "momentum of sgd and rmsprop", minimum=0, below=1)
    clip_norm: float = option(1.0, "largest norm of all gradients together; 0: off", minimum=0)
    clip_value: float = option(0.0, "largest size of any gradient element; 0: off", minimum=0)

    def check_combinations(self) -> None:
        if self.clip_norm and self.clip_value:
            raise UsageError(
                "--clip_norm and --clip_value: expected one of them to be 0, "
                f"received {self.clip_norm:g} and {self.clip_value:g}"
            )
        if self.schedule == "exponential" and not self.final_learning_rate:
            raise UsageError(
                "--final_learning_rate: expected more than 0 with exponential, received 0"
            )


@dataclasses.dataclass(frozen=True)
class TrainingOptions(OptionGroup):
    """How long to train and what to show meanwhile."""

    TITLE = "Training"

    epochs: int = option(20, "epochs", minimum=1)
    patience: int = option(
        0, "epochs without a better validation loss before training stops; 0: never", minimum=0
    )
    seed: int = option(0, "seed of weights, windows and dropout", minimum=0, maximum=2**31 - 1)
    save_every_steps: int = option(
        0, "steps between two checkpoints within an epoch; 0: none", minimum=0
    )
    save_every_minutes: float = option(
        10.0, "minutes between two checkpoints within an epoch; 0: none", minimum=0
    )
    keep_checkpoints: int = option(
        2, "newest checkpoints that are kept, besides the best one", minimum=1
    )
    sample_every_epochs: int = option(1, "epochs between two samples; 0: no samples", minimum=0)
    sample_chars: int = option(200, "characters in a sample", minimum=1)
    tensorboard: bool = option(False, "write TensorBoard logs into the run folder")


@dataclasses.dataclass(frozen=True)
class RunOptions(OptionGroup):
    """The run folder."""

    TITLE = "Run folder"

    run_dir: str = option("runs/default", "the run folder")


@dataclasses.dataclass(frozen=True)
class StartOptions(OptionGroup):
    """What to do with a run folder that is there already."""

    TITLE = "Start"

    resume: bool = option(False, "continue the run in run_dir; its saved options hold")
    overwrite: bool = option(False, "delete the run in run_dir and start again")

    def check_combinations(self) -> None:
        if self.resume and self.overwrite:
            raise UsageError("--resume and --overwrite: expected one of them, received both")


@dataclasses.dataclass(frozen=True)
class PromptOptions(OptionGroup):
    """What the text starts with."""

    TITLE = "Prompt"

    prompt: str = option("", "text to continue; empty with no other prompt: the start of a line")
    prompt_path: str = option("", "file that holds the prompt; -: standard input")

    def check_combinations(self) -> None:
        if self.prompt and self.prompt_path:
            raise UsageError("--prompt and --prompt_path: expected one of them, received both")


@dataclasses.dataclass(frozen=True)
class LoadOptions(OptionGroup):
    """Which model, and what it does with characters it doesn't know."""

    TITLE = "Model to load"

    checkpoint: str = option("best", "which checkpoint to load", choices=("best", "last"))
    unknown: str = option(
        "error",
        "characters outside the vocabulary: refuse (where there is an unknown id: read that), "
        "leave out, or take the nearest known",
        choices=("error", "skip", "nearest"),
    )


@dataclasses.dataclass(frozen=True)
class SamplingOptions(OptionGroup):
    """How the next character is chosen; `sampling` tells the order."""

    TITLE = "Sampling"

    temperature: float = option(
        0.8, "divides the logits; 0: always the likeliest character", minimum=0
    )
    top_k: int = option(0, "sample from the k likeliest characters; 0: all", minimum=0)
    top_p: float = option(
        1.0, "sample from the likeliest characters that hold this share", above=0, maximum=1
    )
    min_p: float = option(
        0.0,
        "sample from characters at least so many times as likely as the likeliest; 0: all",
        minimum=0,
        maximum=1,
    )
    typical_p: float = option(
        1.0, "sample from the most typical characters that hold this share", above=0, maximum=1
    )
    mirostat_tau: float = option(
        0.0,
        "bits of surprise a character that mirostat aims at; 0: no mirostat",
        minimum=0,
        maximum=100,
    )
    mirostat_eta: float = option(0.1, "how fast mirostat follows", above=0, maximum=1)
    repetition_penalty: float = option(
        1.0, "divides the logits of characters of the window before; 1: off", above=0, maximum=1000
    )
    frequency_penalty: float = option(
        0.0,
        "taken from a character's logit for each time it stands in the window before",
        minimum=-1000,
        maximum=1000,
    )
    presence_penalty: float = option(
        0.0,
        "taken from a character's logit if it stands in the window before",
        minimum=-1000,
        maximum=1000,
    )
    no_repeat_ngram: int = option(
        0, "never write so many characters that stand in the window before; 0: off", minimum=0
    )
    repeat_window: int = option(
        64,
        "characters that penalties look back on, those of the prompt among them",
        minimum=1,
        maximum=MAX_REPEAT_WINDOW,
    )

    def check_combinations(self) -> None:
        truncated = self.top_k or self.top_p < 1 or self.min_p or self.typical_p < 1
        if self.mirostat_tau and truncated:
            raise UsageError(
                "--mirostat_tau: expected no --top_k, --top_p, --min_p or --typical_p beside it, "
                "for it takes their place"
            )
        if self.no_repeat_ngram > self.repeat_window:
            raise UsageError(
                f"--no_repeat_ngram: expected at most --repeat_window={self.repeat_window}, "
                f"received {self.no_repeat_ngram}"
            )


@dataclasses.dataclass(frozen=True)
class GenerationOptions(OptionGroup):
    """How much text, and when it ends."""

    TITLE = "Generation"

    length: int = option(
        500, "characters to generate, without the prompt; -1: until interrupted", minimum=-1
    )
    num_samples: int = option(1, "texts to generate", minimum=1, maximum=4096)
    num_beams: int = option(
        1,
        "more than 1: search for the likeliest text, with penalties, instead of sampling",
        minimum=1,
        maximum=256,
    )
    length_penalty: float = option(
        1.0, "beams compare log-probability over length to this power", minimum=0, maximum=10
    )
    stop: tuple[str, ...] = option((), "text that ends the generation; may be given several times")
    until_line: bool = option(False, "end at the end of the first line that holds anything")
    until_speaker: bool = option(
        False, "end where the next speech begins: at a blank line, also right after the prompt's"
    )
    seed: int = option(
        -1,
        "seed; the same seed gives the same text; -1: another one each time",
        minimum=-1,
        maximum=2**31 - 1,
    )


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(OptionGroup):
    """What is scored, and against what."""

    TITLE = "Evaluation"

    text_path: str = option("", "text file to score; empty: the run's validation and test text")
    encoding: str = option("", "of the file --text_path; empty: that of the run's corpus")
    encoding_errors: str = option(
        "strict",
        "what to do with bytes of --text_path that can't be decoded",
        choices=("strict", "replace", "ignore"),
    )
    include_test: bool = option(
        True, "score the test text too; off while you still choose between models"
    )
    protocol: str = option(
        "frozen",
        "every character once, in order, after all before it; windows: also over windows that "
        "start from nothing, as losses are often published",
        choices=("frozen", "windows"),
    )
    window_chars: int = option(256, "characters in a window of --protocol=windows", minimum=1)
    window_stride: int = option(
        0, "characters between the starts of two windows; 0: window_chars", minimum=0
    )
    baselines: bool = option(True, "score n-grams and compressors beside the model")
    adapt: bool = option(
        False, "dynamic evaluation: the weights learn from each segment after it was scored"
    )
    adapt_rule: str = option("rms", "how the weights follow the text", choices=("rms", "sgd"))
    adapt_rate: float = option(0.0, "size of a step of --adapt; 0: the rule's own", minimum=0)
    adapt_decay: float = option(
        -1.0,
        "how fast the weights go back to the trained ones; -1: the rule's own",
        minimum=-1,
        maximum=1,
    )
    adapt_segment_chars: int = option(40, "characters between two steps of --adapt", minimum=1)
    adapt_tune: bool = option(
        False, "find adapt_rate and adapt_decay on the first 20,000 characters of validation"
    )
    mix: bool = option(
        False, "with --adapt: mix the model with adaptive n-grams, by weights learned on the way"
    )
    sample_chars: int = option(
        20_000, "characters to generate for the checks for copies and loops; 0: none", minimum=0
    )
    heatmap_chars: int = option(
        20_000, "characters of the page's surprise heatmap", minimum=0, maximum=50_000
    )
    sample_seed: int = option(0, "seed of the generated text", minimum=0, maximum=2**31 - 1)
    output_dir: str = option("", "where the report goes; empty: the folder evaluation of the run")

    def check_combinations(self) -> None:
        if self.window_stride > self.window_chars:
            raise UsageError(
                f"--window_stride: expected at most --window_chars={self.window_chars}, "
                f"received {self.window_stride}"
            )
        if -1 < self.adapt_decay < 0:
            raise UsageError(f"--adapt_decay: expected 0 to 1, or -1, received {self.adapt_decay}")
        given = {
            "mix": self.mix,
            "adapt_tune": self.adapt_tune,
            "adapt_rate": self.adapt_rate != 0,
            "adapt_decay": self.adapt_decay != -1,
        }
        for name in [name for name, is_given in given.items() if is_given and not self.adapt]:
            raise UsageError(f"--{name}: expected --adapt beside it")
        if self.adapt_tune and (given["adapt_rate"] or given["adapt_decay"]):
            raise UsageError(
                "--adapt_tune: expected no --adapt_rate and no --adapt_decay, for it finds them"
            )


@dataclasses.dataclass(frozen=True)
class PlotOptions(OptionGroup):
    """Where a comparison of runs goes."""

    TITLE = "Comparison"

    output: str = option(
        "learning_curves", "path of the figure, without its ending: a PNG and an SVG are written"
    )


TRAIN_GROUPS = (
    CorpusOptions,
    VocabularyOptions,
    WindowOptions,
    ModelOptions,
    EngineOptions,
    OptimizerOptions,
    TrainingOptions,
    RunOptions,
    StartOptions,
)
GENERATE_GROUPS = (RunOptions, LoadOptions, PromptOptions, SamplingOptions, GenerationOptions)
EVALUATE_GROUPS = (RunOptions, LoadOptions, EvaluationOptions, SamplingOptions)
PLOT_GROUPS = (RunOptions, PlotOptions)
INSPECT_GROUPS = (CorpusOptions,)
