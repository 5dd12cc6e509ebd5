"""Describes a corpus before training: characters, repeated text, entropy, what to expect.

python -m shakespeare_gen.describe --corpus=my_novel.txt
"""

from typing import Any

from shakespeare_gen.options import OptionGroup, Options, command_line, signatures, spelling
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.system import extras


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return (CorpusOptions,)


def main(options: Options) -> None:
    """The command: prints tables of corpus statistics, and what to expect of training."""
    found = _describe(options)
    from shakespeare_gen.report import tables

    tables.show(*tables.description(found))


@signatures.typed(groups())
def describe_corpus(**options: Any) -> dict[str, Any]:
    """Describes a corpus: characters, repeated text, entropy, and what to expect of training.

    A notebook shows the figures as tables.

    Args:
      {options}

    Raises:
      UsageError: an option is unknown or out of bounds.
      UserError: the corpus cannot be read.
    """
    found = _describe(Options.parse(groups(), options))
    from shakespeare_gen.report import shown, tables

    return shown.Figures(found, tables.description)


def _describe(options: Options) -> dict[str, Any]:
    extras.require("evaluate", "describe")
    from shakespeare_gen.data import corpora
    from shakespeare_gen.evaluation import corpus_statistics
    from shakespeare_gen.training import forecast

    corpus = corpora.load(options[CorpusOptions])
    found = corpus_statistics.describe(corpus)
    given = options.only([CorpusOptions]).non_defaults()
    vocabulary_size = found["facts"]["vocabulary"]
    expected = forecast.forecast(
        corpus.name, corpus.num_chars("train"), vocabulary_size, bool(corpus.validation), given
    )
    found["training"] = {
        name: spelling.as_flags(value, ()) if isinstance(value, str) else value
        for name, value in expected.items()
    }
    return found


if __name__ == "__main__":
    command_line.run(main, *groups())
