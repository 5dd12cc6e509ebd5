"""Everything before training: options, text and run folder are checked and loaded.

A user error is reported here and creates no files; if a run cannot be resumed, its folder is not
changed. Does not import TensorFlow, except to read a dataset of TFDS.

    with prepared(options) as run_to_train: ...     # the run folder is locked
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from absl import logging

from shakespeare_gen import models, runs
from shakespeare_gen.data import corpora, text_files
from shakespeare_gen.data.corpora import CorpusIdentity
from shakespeare_gen.data.line_sketch import LineSketch
from shakespeare_gen.data.windows import Plan
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import (
    CorpusOptions,
    RunOptions,
    StartOptions,
    TrainingOptions,
    WindowOptions,
)
from shakespeare_gen.runs import CorpusFacts, Run, RunFolder, RunSpec, resuming, train_lines
from shakespeare_gen.system import extras
from shakespeare_gen.training import sizing, sources, teachers, trained_start
from shakespeare_gen.training.data import TrainingData, plan_of
from shakespeare_gen.training.sources import TrainingSource
from shakespeare_gen.training.teachers import Teachers
from shakespeare_gen.training.trained_start import TrainedStart


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A run that is ready to start: its folder is locked and its data is loaded.

    Attributes:
      before: the saved spec of a resumed run; None: the run is new.
      start: the run that a new one starts from; None: it starts from random weights.
      teachers: the runs that it learns from besides the text; None: there are none.
      lines: of a new run, the sketch of all texts that its weights were trained on.
    """

    folder: RunFolder
    options: Options
    corpus: CorpusIdentity
    data: TrainingData
    before: RunSpec | None = None
    start: TrainedStart | None = None
    teachers: Teachers | None = None
    lines: LineSketch | None = None

    @property
    def spec(self) -> RunSpec:
        """The spec of the run, without its resumptions."""
        facts = CorpusFacts.of(self.corpus, self.options[CorpusOptions].corpus)
        return RunSpec(self.options, self.data.tokenizer, facts)

    def replaced(self, **options: Any) -> "Prepared":
        """The same run with other options."""
        return dataclasses.replace(self, options=self.options.replaced(**options))

    @property
    def run_before(self) -> Run | None:
        """The run that is resumed; None: the run is new."""
        return Run(self.folder, self.before) if self.before else None


def prepared(
    options: Options, text: str | None = None
) -> contextlib.AbstractContextManager[Prepared]:
    """A context with a prepared run, in which no other process can train it.

    Args:
      text: the text to train on, instead of the option `corpus`.

    Raises:
      UserError: an option, the text or the run folder is invalid.
    """
    folder = RunFolder(options[RunOptions].run_dir)
    if text is not None:
        options = _with_given_text(options)
    return (_resumed if options[StartOptions].resume else _new)(folder, options, text)


def _with_given_text(options: Options) -> Options:
    if "corpus" in options.given:
        raise UsageError("`corpus` and `text`: expected one of them, received both")
    return options.replaced(corpus=corpora.GIVEN_TEXT)


@contextlib.contextmanager
def _new(folder: RunFolder, options: Options, text: str | None) -> Iterator[Prepared]:
    start = trained_start.find(options)
    if start:
        options = start.options(options)
    source, options = sources.load(options, text, start.tokenizer if start else None)
    tokenizer = source.tokenizer
    if tokenizer.size < 2:
        raise UserError(
            f"corpus={source.corpus.name}: expected at least 2 different tokens, "
            f"received {tokenizer.decode(range(tokenizer.size))!r} only"
        )
    options = _sized(options, source)
    data = _checked(source, options)
    found = _teachers(source, options)
    lines = _lines(source, start, found)
    warning = sizing.too_few_updates(data.plan, options)
    if warning and not models.is_counted(options):
        logging.warning(warning)  # as the message itself, so that options are spelled as flags
    folder.make()
    with folder.locked():
        folder.empty(options[StartOptions].overwrite)
        saved = runs.saved_options(options)
        yield Prepared(folder, saved, source.corpus, data, start=start, teachers=found, lines=lines)


@contextlib.contextmanager
def _resumed(folder: RunFolder, given: Options, text: str | None) -> Iterator[Prepared]:
    resuming.check_can_resume(folder)
    with folder.locked():
        spec = runs.read_spec(folder)
        options = resuming.resumed_options(spec, given)
        now = options[CorpusOptions]
        moved_to = now.corpus if "corpus" in given.given else ""
        location = resuming.corpus_options(spec, moved_to, now.data_dir)
        source = sources.load_again(spec, location, text)
        resuming.check_corpus(spec, source.corpus)
        data, found = _checked(source, options), _teachers(source, options)
        yield Prepared(folder, options, source.corpus, data, spec, teachers=found)


def joined(spec: RunSpec, folder: RunFolder, given: Options, text: str | None) -> Prepared:
    """The run of another process, whose text is loaded here.

    Args:
      spec: of the run.
      folder: an empty folder for this process; the other one has the run folder.
      given: the options of this command, with the place of its text.

    Raises:
      UserError: the text cannot be loaded, or it is another one.
    """
    if text is not None:
        given = _with_given_text(given)
    now = given[CorpusOptions]
    place = now.corpus if "corpus" in given.given else ""
    source = sources.load_again(spec, resuming.corpus_options(spec, place, now.data_dir), text)
    resuming.check_corpus(spec, source.corpus)
    data, found = _checked(source, spec.options), _teachers(source, spec.options)
    return Prepared(folder, spec.options, source.corpus, data, teachers=found)


def _teachers(source: TrainingSource, options: Options) -> Teachers | None:
    found = teachers.find(options)
    if found:
        found.check_tokenizer(source.tokenizer)
    return found


def _lines(
    source: TrainingSource, start: TrainedStart | None, found: Teachers | None
) -> LineSketch:
    """The sketch of all texts that the weights were trained on, and those of the teachers.

    Raises:
      UserError: a held-out text is among those that `start` or a teacher was trained on.
    """
    lines = source.lines()
    runs_before = [start.run] if start else []
    runs_before += found.runs if found else []
    for run in runs_before:
        for split, held_out in source.held_out.items():
            train_lines.check_is_new(run, held_out.text, f"the {split} text")
        before = train_lines.read(run.folder)
        lines = lines.merged(before) if before else lines
    return lines


def _sized(options: Options, source: TrainingSource) -> Options:
    """The options of a new run; those that depend on the size of the text are resolved."""
    if models.is_counted(options):
        return options
    num_tokens = source.train.num_tokens
    sized = sizing.resolve(options, num_tokens, bool(source.held_out["validation"].num_tokens))
    if sized[TrainingOptions].auto_size:
        logging.info("for %s training tokens: %s", f"{num_tokens:,}", sizing.chosen(sized))
    return sized


def _checked(source: TrainingSource, options: Options) -> TrainingData:
    """The data of a run; checks that the texts are compatible with the options."""
    plan = plan_of(source.train.num_tokens, options)
    models.spec_of(source.tokenizer.size, options)
    training = options[TrainingOptions]
    if training.tensorboard:
        extras.require("tensorboard", "tensorboard")
    if models.is_counted(options):
        if source.train.num_tokens > text_files.MAX_BYTES:
            raise UsageError(
                f"model: expected a network for {source.train.num_tokens:,} tokens, received one "
                "that counts them in memory"
            )
        return TrainingData(source.tokenizer, source.train, source.held_out, plan)
    _log_epoch(options[WindowOptions].steps_per_epoch, plan)
    if training.patience and not source.held_out["validation"].num_tokens:
        raise UsageError(
            f"patience: expected 0 without validation text, received {training.patience}"
        )
    return TrainingData(source.tokenizer, source.train, source.held_out, plan, source.window_array)


def _log_epoch(requested: int, plan: Plan) -> None:
    """Logs whether `steps_per_epoch` exceeds one pass over the text, or cuts it short."""
    steps = plan.steps_per_pass
    if requested > steps:
        logging.info(
            "steps_per_epoch=%d: a pass over the text, and so an epoch, has only %d",
            requested,
            steps,
        )
    elif 0 < requested < steps:
        logging.info(
            "steps_per_epoch=%d: an epoch is part of a pass over the text, which has %d",
            requested,
            steps,
        )
