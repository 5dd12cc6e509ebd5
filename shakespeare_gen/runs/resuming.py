"""Rules for resuming a run: which options may change, where the text is, what is recorded.

Functions of a `RunSpec`; knows nothing about run folders and training.
"""

import dataclasses
import glob
import os

from shakespeare_gen.data.corpora import CorpusIdentity
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options
from shakespeare_gen.options.fields import fields_of
from shakespeare_gen.options.groups import CorpusOptions, OptimizerOptions, TrainingOptions
from shakespeare_gen.runs.folder import RunFolder
from shakespeare_gen.runs.spec import CorpusFacts, Resumption, RunSpec

# Duration and speed of training, its output, and the location of the text, which the SHA-256
# identifies. Not `momentum`, which determines the variables of the optimizer, nor
# `initial_accumulator`, their first value.
CHANGEABLE = (
    frozenset(f.name for group in (TrainingOptions, OptimizerOptions) for f in fields_of(group))
    | {"corpus", "data_dir", "fallback_corpus", "kernel"}
) - {
    "seed",
    "optimizer",
    "momentum",
    "initial_accumulator",
    "auto_size",
    "initialize_from",
    "teachers",
}


def check_can_resume(folder: RunFolder) -> None:
    """Checks that there is a checkpoint to resume from."""
    if not folder.has_checkpoint():
        raise UserError(f"resume: expected a run with a checkpoint in {folder.path}, found none")


def resumed_options(spec: RunSpec, options: Options) -> Options:
    """The saved options, updated with the given ones.

    Args:
      options: the options of the command; only those in `options.given` count.

    Raises:
      UsageError: a given option differs from the saved one and may not change.
    """
    saved, now = spec.options.by_name(), options.by_name()
    given = {name: now[name] for name in options.given if name in saved}
    for name, value in sorted(given.items()):
        if name not in CHANGEABLE and value != saved[name]:
            raise UsageError(
                f"{name}: expected {saved[name]!r}, as in the run that is resumed, "
                f"received {value!r}"
            )
    return spec.options.replaced(**given)


def corpus_options(spec: RunSpec, corpus: str = "", data_dir: str = "") -> CorpusOptions:
    """The options that load the text of a run again.

    A run that was trained on the fallback corpus keeps it. Text files are searched at their
    absolute path, then at the path that was given for training.

    Args:
      corpus, data_dir: the new location of the text; empty: unchanged.
    """
    saved, facts = spec.options[CorpusOptions], spec.corpus
    if corpus == facts.requested != facts.name:
        corpus = ""
    is_there = os.path.lexists(facts.path) or glob.glob(facts.path, recursive=True)
    return spec.options.replaced(
        corpus=corpus or (facts.path if facts.path and is_there else facts.name),
        data_dir=data_dir or saved.data_dir,
        fallback_corpus="",
    )[CorpusOptions]


def check_corpus(spec: RunSpec, corpus: CorpusIdentity) -> None:
    """Checks that the text is the one that the run was trained on."""
    expected, found = spec.corpus, corpus.sha256
    if found != expected.sha256:
        raise UserError(
            f"corpus={corpus.name}: expected the text that the run was trained on, "
            f"{expected.name} (SHA-256 {expected.sha256[:16]}…), received another text "
            f"(SHA-256 {found[:16]}…)"
        )


def resumed_spec(
    spec: RunSpec, options: Options, corpus: CorpusIdentity, from_checkpoint: str
) -> RunSpec:
    """The spec of a resumed run: new options, the location of its text, an added resumption.

    Args:
      options: the result of `resumed_options`.
      corpus: the text of the run, accepted by `check_corpus`.
      from_checkpoint: the name of the checkpoint that was restored.
    """
    saved, now = spec.options.by_name(), options.by_name()
    changed = {name: (old, now[name]) for name, old in saved.items() if now[name] != old}
    facts = CorpusFacts.of(corpus, now["corpus"])
    if "corpus" not in changed:
        facts = dataclasses.replace(spec.corpus, path=facts.path)
    resumed = (*spec.resumed, Resumption(from_checkpoint, changed))
    return RunSpec(options, spec.tokenizer, facts, resumed)
