"""The options of a corpus and of its windows."""

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options.fields import OptionGroup, option
from shakespeare_gen.options.groups.limits import ENCODING_ERRORS


class CorpusOptions(OptionGroup):
    """Where the text comes from and how it is split."""

    TITLE = "Corpus"

    corpus: str = option(
        "tiny_shakespeare",
        "tiny_shakespeare, tfds:NAME, plays, verse, dialogue, names, music, stdlib, "
        "django:LANGUAGE, or the path of a file, a folder, a glob, or of arrays or shards "
        "written by `prepare`",
    )
    text_feature: str = option(
        "text", "with tfds:NAME and JSON lines: the feature or key that contains the text"
    )
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
    split_by: str = option(
        "file",
        "cut validation and test from the end of each file, or of the whole corpus, which suits "
        "many short documents",
        choices=("file", "corpus"),
    )
    encoding: str = option(
        "auto",
        "encoding of the text files; auto: UTF-8, or else the most plausible one for each file",
    )
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


class CorpusLocationOptions(OptionGroup):
    """The location of a run's corpus, if it has moved."""

    TITLE = "Corpus"

    corpus: str = option("", "path of the text files that the run was trained on; empty: unchanged")
    data_dir: str = option("", "TFDS data folder; empty: unchanged")


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
    num_windows: int = option(
        0,
        "train on a random subset of this many windows, the same in every epoch and without "
        "`random_offset`; 0: all windows",
        minimum=0,
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
        if self.carry_state and self.num_windows:
            raise UsageError(
                "num_windows: expected 0 with `carry_state` (streams read the whole text), "
                f"received {self.num_windows}"
            )


class ArrayOptions(OptionGroup):
    """The arrays that `prepare` writes."""

    TITLE = "Arrays"

    layout: str = option(
        "auto",
        "windows: every window of a text that fits into memory; shards: the tokens of a text of "
        "any size, in parts; auto: shards for JSON lines, TFDS and files of more than 64 MiB",
        choices=("auto", "windows", "shards"),
    )
    window_chars: int = option(
        128, "with layout=windows: tokens (characters by default) per window", minimum=1
    )
    window_stride: int = option(
        0,
        "with layout=windows: tokens between the starts of consecutive windows; 0: window_chars",
        minimum=0,
    )
    num_processes: int = option(
        0, "with layout=shards: processes that read the text; 0: one per core", minimum=0
    )
    output_dir: str = option("processed", "folder for the arrays")
    overwrite: bool = option(False, "replace the arrays of the same name in output_dir")
