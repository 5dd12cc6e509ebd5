"""The options of finding a run, loading its model and generating with it."""

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options.fields import OptionGroup, option
from shakespeare_gen.options.groups.limits import CHECKPOINTS, MAX_SEED


class SavedRunsOptions(OptionGroup):
    """The run or runs that a command reads."""

    TITLE = "Run folder"

    run_dir: tuple[str, ...] = option(
        (),
        "run folder; several are separated by commas, repeated, or named by a glob; empty: the "
        "newest finished run in the folder runs",
    )


class LoadOptions(OptionGroup):
    """Which checkpoint to load."""

    TITLE = "Model to load"

    checkpoint: str = option("best", "checkpoint to load", choices=CHECKPOINTS)


class UnknownOptions(OptionGroup):
    """How to handle characters outside the vocabulary of the model."""

    TITLE = "Model to load"

    unknown: str = option(
        "error",
        "how to handle characters outside the vocabulary: error (unless there is an unknown "
        "token), skip them, or replace them with the nearest known ones",
        choices=("error", "skip", "nearest"),
    )


class EngineOptions(OptionGroup):
    """What computes the generated text."""

    TITLE = "Engine"

    engine: str = option(
        "auto",
        "numpy: starts in half a second; tensorflow: compiled, starts in seconds; auto: tensorflow "
        "with a GPU or for more than 50,000 tokens, else numpy",
        choices=("auto", "numpy", "tensorflow"),
    )


class PromptOptions(OptionGroup):
    """The text to continue."""

    TITLE = "Prompt"

    prompt: str = option("", "text to continue; empty, without prompt_path: the start of a line")
    prompt_path: str = option("", "file that contains the prompt; -: standard input")

    def check_combinations(self) -> None:
        if self.prompt and self.prompt_path:
            raise UsageError("`prompt` and `prompt_path`: expected one of them, received both")


class OutputOptions(OptionGroup):
    """Where the text goes."""

    TITLE = "Output"

    interactive: bool = option(
        False, "write in a session: lines of text to continue, and commands such as /help"
    )
    format: str = option(
        "text",
        "text, or jsonl: one JSON object per sample, with its log-probability, at the end",
        choices=("text", "jsonl"),
    )
    output_path: str = option("-", "file to write when the text is complete; -: standard output")
    overwrite: bool = option(False, "replace the file output_path")

    @property
    def is_standard_output(self) -> bool:
        """Whether the text goes to standard output."""
        return self.output_path == "-"

    def check_combinations(self) -> None:
        if self.overwrite and self.is_standard_output:
            raise UsageError("overwrite: expected to be used with `output_path`")
        if self.interactive and not self.is_standard_output:
            raise UsageError(
                f"output_path: expected - with `interactive`, received {self.output_path!r}; "
                "in the session, /save writes a file"
            )
        if self.interactive and self.format != "text":
            raise UsageError(f"format: expected text with `interactive`, received {self.format!r}")


class GenerationOptions(OptionGroup):
    """How much text to generate, and where it ends."""

    TITLE = "Generation"

    length: int = option(
        500,
        "number of tokens (characters by default) to generate; -1: until interrupted",
        minimum=-1,
    )
    num_samples: int = option(
        1,
        "number of texts to generate; many are written to output_path in batches, and the same "
        "command goes on after an interruption",
        minimum=1,
        maximum=10**9,
    )
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
