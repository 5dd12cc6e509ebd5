"""Trains a character-level language model into a run folder.

python -m shakespeare_gen.train --flagfile=flags/tiny_shakespeare.cfg --epochs=30
"""

from dataclasses import asdict

from shakespeare_gen import cli, config


def main(*_: config.Config) -> None:
    """The command: trains with the flags that were given."""
    from shakespeare_gen import devices

    devices.start()
    train_model(**cli.explicit_options(*config.TRAIN_GROUPS))


def train_model(**options):
    """Trains with `options` (named like the flags); returns the `runs.Run`."""
    from shakespeare_gen.interruption import Interruption

    with Interruption() as interruption:
        return _train(options, interruption)


def _train(options: dict, interruption):
    from absl import logging

    from shakespeare_gen import (
        architecture,
        corpora,
        devices,
        model,
        plotting,
        run_card,
        runs,
        training,
        windows,
    )
    from shakespeare_gen.vocabulary import Vocabulary

    configs = config.from_options(config.TRAIN_GROUPS, options)
    run = runs.Run(configs[-2].run_dir)
    resume = configs[-1].resume
    if resume:
        configs = config.from_options(config.TRAIN_GROUPS, run.resumed_options(options))
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
    facts: dict = {
        "corpus": corpus.describe(corpus_c.corpus),
        "options": config.non_defaults(*configs),
    }
    if resume:
        run.check_corpus(facts["corpus"], vocabulary)
    else:
        run.make(start.overwrite)
    with run.locked():
        facts["resumed"] = run.resumptions(configs) if resume else []
        if not resume:
            run.prepare()
        run.write_config(configs, facts["corpus"])
        run.write_vocabulary(vocabulary)
        training.set_seed(training_c.seed)
        precision = devices.choose_precision(engine.precision)
        network = model.build(
            vocabulary.size, **asdict(model_c), kernel=engine.kernel, precision=precision
        )
        facts |= {"num_parameters": architecture.num_parameters(shapes), "precision": precision}
        logging.info("%s parameters, %s", f"{facts['num_parameters']:,}", precision)
        with run_card.kept(run, facts):
            training.train(
                network,
                vocabulary,
                ids,
                plan,
                run,
                asdict(optimizer_c),
                resume,
                interruption,
                **asdict(training_c),
            )
            facts |= training.evaluate_best(run, ids)
            plotting.loss_curve(run.metrics(), run.loss_curve_path)
    return run


if __name__ == "__main__":
    cli.run(main, *config.TRAIN_GROUPS)
