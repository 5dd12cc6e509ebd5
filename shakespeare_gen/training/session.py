"""One training run, from options to the run card.

Puts corpus, vocabulary, windows, model, training and run folder together. Every
check that needs no training comes first, so that a mistake leaves nothing
behind; what can't be restored changes nothing in a folder that is resumed.
"""

import contextlib
import dataclasses
import shlex
from dataclasses import asdict
from typing import Any

from absl import logging

from shakespeare_gen import runs
from shakespeare_gen.data import corpora, windows
from shakespeare_gen.data.tokenizers.characters import Vocabulary
from shakespeare_gen.errors import Interrupted, UserError
from shakespeare_gen.models import recurrent, specs
from shakespeare_gen.options import fields, groups
from shakespeare_gen.runs.card import Card
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.system import devices
from shakespeare_gen.system.signals import SAVING, Interruption
from shakespeare_gen.training import fit


def train(**options) -> runs.Run:
    """Trains with `options` (named like the flags); returns the run.

    Raises:
      UserError: an option, the text or the run folder is not what was expected.
      NotFiniteError: the loss or a weight became NaN or infinite.
      Interrupted: Ctrl-C or SIGTERM; what was trained is saved.
    """
    *_, run_c, start = fields.from_options(groups.TRAIN_GROUPS, options)
    run = runs.Run(run_c.run_dir)
    try:
        with Interruption(SAVING) as interruption, contextlib.ExitStack() as held:
            if start.resume:
                run.check_can_resume()
                held.enter_context(run.locked())
                options = run.resumed_options(options)
            configs = fields.from_options(groups.TRAIN_GROUPS, options)
            text = _read_text(run, configs[:3], start.resume)
            _check(configs, text)
            if not start.resume:
                run.make()
                held.enter_context(run.locked())
                run.empty(start.overwrite)
            _train(run, configs, text, interruption)
    except Interrupted as stop:
        if not run.has_checkpoint():
            raise
        flags = f"--resume {shlex.quote(f'--run_dir={run.path}')}"
        message = f"{stop}; go on with: python -m shakespeare_gen.train {flags}"
        raise Interrupted(stop.signal_number, message) from None
    return run


@dataclasses.dataclass(frozen=True)
class _Text:
    """The corpus as its name, hash and lengths; its vocabulary, ids by split, and windows."""

    described: dict[str, Any]
    vocabulary: Vocabulary
    ids: dict
    plan: windows.Plan


def _read_text(run: runs.Run, configs: list, resume: bool) -> _Text:
    corpus_c, vocabulary_c, window_c = configs
    source = asdict(corpus_c)
    if resume:  # a run that began on the fallback corpus goes on with it
        source |= {"corpus": run.read_config()["data"]["name"], "fallback_corpus": ""}
    corpus = corpora.load(**source)
    vocabulary = Vocabulary.from_text(corpus.train, **asdict(vocabulary_c))
    if vocabulary.size < 2:
        raise UserError(
            f"--corpus={corpus.name}: expected at least 2 different characters, "
            f"received {vocabulary.characters!r} alone"
        )
    described = corpus.describe(corpus_c.corpus)
    if resume:
        run.check_corpus(described, vocabulary)
    ids = corpora.encode(corpus, vocabulary)
    plan = windows.plan(len(ids["train"]), **asdict(window_c))
    return _Text(described, vocabulary, ids, plan)


def _check(configs: list, text: _Text) -> None:
    model_c, training_c = configs[3], configs[6]
    specs.weight_shapes(text.vocabulary.size, **asdict(model_c))
    fit.check(len(text.ids["validation"]), **asdict(training_c))


def _train(run: runs.Run, configs: list, text: _Text, interruption: Interruption) -> None:
    _, _, _, model_c, engine, optimizer_c, training_c, _, start = configs
    fit.set_seed(training_c.seed)
    # Stored as what it became: a run doesn't change its precision on another machine.
    precision = devices.choose_precision(engine.precision)
    stored = [dataclasses.replace(c, precision=precision) if c is engine else c for c in configs]
    shapes = specs.weight_shapes(text.vocabulary.size, **asdict(model_c))
    num_parameters = specs.num_parameters(shapes)
    network = recurrent.build(
        text.vocabulary.size, **asdict(model_c), kernel=engine.kernel, precision=precision
    )
    kernel = recurrent.chosen_kernel(network)
    logging.info("%s parameters, %s, kernel %s", f"{num_parameters:,}", precision, kernel)
    compiled = fit.compiled(network, text.plan, training_c.epochs, asdict(optimizer_c))
    progress, resumed = Progress(), []
    if start.resume:
        progress, checkpoint = fit.restored_progress(run, compiled, text.plan)
        resumed = run.resumptions(stored, checkpoint)
    run.write_config(stored, text.described, resumed)
    run.write_vocabulary(text.vocabulary)
    facts = {
        "corpus": text.described,
        "options": fields.non_defaults(*configs[:-1]),
        "resumed": resumed,
        "num_parameters": num_parameters,
        "precision": precision,
        "kernel": kernel,
    }
    with Card(run, facts) as card:
        fit.train(
            compiled,
            text.vocabulary,
            text.ids,
            text.plan,
            run,
            card,
            progress,
            interruption,
            optimizer_c.learning_rate,
            **asdict(training_c),
        )
        card.write(**fit.evaluate_best(run, text.ids))
