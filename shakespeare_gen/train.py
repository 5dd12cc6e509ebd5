"""Trains a character-level language model into a run folder.

python -m shakespeare_gen.train --flagfile=flags/tiny_shakespeare.cfg --epochs=30
"""

import contextlib
import shlex
from dataclasses import asdict

from shakespeare_gen import cli, config
from shakespeare_gen.errors import Interrupted


def main(*_: config.Config) -> None:
    """The command: trains with the flags that were given."""
    from shakespeare_gen import devices

    devices.start()
    train_model(**cli.explicit_options(*config.TRAIN_GROUPS))


def train_model(**options):
    """Trains with `options` (named like the flags); returns the `runs.Run`."""
    from shakespeare_gen import runs
    from shakespeare_gen.interruption import Interruption

    *_, run_c, start = config.from_options(config.TRAIN_GROUPS, options)
    run = runs.Run(run_c.run_dir)
    try:
        with Interruption() as interruption, contextlib.ExitStack() as held:
            if start.resume:
                run.check_can_resume()
                held.enter_context(run.locked())
            _train(run, options, interruption, held)
    except Interrupted as stop:
        if not run.has_checkpoint():
            raise
        flags = f"--resume {shlex.quote(f'--run_dir={run.path}')}"
        message = f"{stop}; go on with: python -m shakespeare_gen.train {flags}"
        raise Interrupted(stop.signal_number, message) from None
    return run


def _train(run, options: dict, interruption, held: contextlib.ExitStack) -> None:
    from absl import logging

    from shakespeare_gen import (
        architecture,
        corpora,
        devices,
        model,
        plotting,
        run_card,
        training,
        windows,
    )
    from shakespeare_gen.progress import Progress
    from shakespeare_gen.vocabulary import Vocabulary

    resume = options.get("resume", False)
    configs = config.from_options(
        config.TRAIN_GROUPS, run.resumed_options(options) if resume else options
    )
    corpus_c, vocabulary_c, window_c, model_c, engine, optimizer_c, training_c, _, start = configs
    source = asdict(corpus_c)
    if resume:  # a run that began on the fallback corpus goes on with it
        source |= {"corpus": run.read_config()["data"]["name"], "fallback_corpus": ""}
    corpus = corpora.load(**source)
    vocabulary = Vocabulary.from_text(corpus.train, **asdict(vocabulary_c))
    ids = corpora.encode(corpus, vocabulary)
    plan = windows.plan(len(ids["train"]), **asdict(window_c))
    training.check(len(ids["validation"]), **asdict(training_c))
    shapes = architecture.weight_shapes(vocabulary.size, **asdict(model_c))
    described = corpus.describe(corpus_c.corpus)
    if resume:
        run.check_corpus(described, vocabulary)
    else:  # only now, so that a mistake leaves nothing behind
        run.make()
        held.enter_context(run.locked())
        run.empty(start.overwrite)

    training.set_seed(training_c.seed)
    precision = devices.choose_precision(engine.precision)
    network = model.build(
        vocabulary.size, **asdict(model_c), kernel=engine.kernel, precision=precision
    )
    logging.info("%s parameters, %s", f"{architecture.num_parameters(shapes):,}", precision)
    compiled = training.compiled(network, plan, training_c.epochs, asdict(optimizer_c))
    progress, resumed = Progress(), []
    if resume:  # what can't be restored changes nothing in the folder
        progress, checkpoint = training.restored_progress(run, compiled, plan)
        resumed = run.resumptions(configs, checkpoint)
    run.write_config(configs, described, resumed)
    run.write_vocabulary(vocabulary)
    facts = {
        "corpus": described,
        "options": config.non_defaults(*configs[:-1]),
        "resumed": resumed,
        "num_parameters": architecture.num_parameters(shapes),
        "precision": precision,
    }
    with run_card.Card(run, facts) as card:
        training.train(
            compiled,
            vocabulary,
            ids,
            plan,
            run,
            card,
            progress,
            interruption,
            optimizer_c.learning_rate,
            **asdict(training_c),
        )
        card.write(**training.evaluate_best(run, ids))
        plotting.loss_curve(run.metrics(), run.loss_curve_path)


if __name__ == "__main__":
    cli.run(main, *config.TRAIN_GROUPS)
