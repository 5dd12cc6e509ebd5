"""The options that do not belong to a single component, in typed groups.

The options of a component are defined next to it: those of a tokenizer in `data.tokenizers`, of a
model family in `models`, of a sampling transform in `generation.sampling`. Flags, `config.json`
and the tables of `docs/flags.md` are generated from these fields.

    >>> WindowOptions(batch_size=0)
    UsageError: batch_size: expected at least 1, received 0
"""

from shakespeare_gen.options.groups.evaluation import (
    AdaptationOptions,
    ComparisonOptions,
    EvaluationOptions,
    ReportOptions,
)
from shakespeare_gen.options.groups.generation import (
    EngineOptions,
    GenerationOptions,
    LoadOptions,
    OutputOptions,
    PromptOptions,
    SavedRunsOptions,
    UnknownOptions,
)
from shakespeare_gen.options.groups.serving import ServedModelsOptions, ServeOptions
from shakespeare_gen.options.groups.text import (
    ArrayOptions,
    CorpusLocationOptions,
    CorpusOptions,
    WindowOptions,
)
from shakespeare_gen.options.groups.training import (
    ComputeOptions,
    OptimizerOptions,
    RunOptions,
    StartOptions,
    SweepOptions,
    TrainingOptions,
    TuneOptions,
)
from shakespeare_gen.options.groups.workers import DeviceOptions, WorkerOptions

__all__ = [
    "AdaptationOptions",
    "ArrayOptions",
    "ComparisonOptions",
    "ComputeOptions",
    "CorpusLocationOptions",
    "CorpusOptions",
    "DeviceOptions",
    "EngineOptions",
    "EvaluationOptions",
    "GenerationOptions",
    "LoadOptions",
    "OptimizerOptions",
    "OutputOptions",
    "PromptOptions",
    "ReportOptions",
    "RunOptions",
    "SavedRunsOptions",
    "ServeOptions",
    "ServedModelsOptions",
    "StartOptions",
    "SweepOptions",
    "TrainingOptions",
    "TuneOptions",
    "UnknownOptions",
    "WindowOptions",
    "WorkerOptions",
]
