"""The options of scoring runs and reporting on them."""

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options.fields import OptionGroup, option
from shakespeare_gen.options.groups.limits import ENCODING_ERRORS, MAX_SEED


class EvaluationOptions(OptionGroup):
    """The text to score, the protocol and the baselines."""

    TITLE = "Evaluation"

    text_path: str = option(
        "", "text file to score; empty: the validation and test text of the run"
    )
    encoding: str = option("", "encoding of text_path, or auto; empty: that of the run's corpus")
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
        "frozen: score each token once, given all preceding text; windows: also score windows "
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
    output_dir: str = option(
        "",
        "folder for the report; empty: evaluation in the run folder, or for several runs "
        "evaluation/ensembles in the first one",
    )

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
        False,
        "mix the adapting model with n-grams and matches that adapt too, with weights that are "
        "learned on the way",
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
        "",
        "path of the figure, without extension; a PNG, an SVG and a JSON file are written; empty: "
        "learning_curves in the common parent folder of the runs",
    )
