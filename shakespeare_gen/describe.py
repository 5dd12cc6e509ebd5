"""Describes a corpus before training: characters, repeated text, entropy, a suitable recipe.

python -m shakespeare_gen.describe --corpus=my_novel.txt
"""

from shakespeare_gen.options import OptionGroup, Options, command_line
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.system import extras


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return (CorpusOptions,)


def main(options: Options) -> None:
    """The command: prints tables of corpus statistics."""
    extras.require("evaluate", "describe")
    from shakespeare_gen.data import corpora
    from shakespeare_gen.evaluation import corpus_statistics
    from shakespeare_gen.report import tables

    corpus_options = options[CorpusOptions]
    corpus = corpora.load(corpus_options)
    encoding = corpus_options.encoding if corpora.is_files(corpus.name) else None
    given = options.only([CorpusOptions]).non_defaults()
    found = corpus_statistics.describe(corpus, encoding, given=given)
    tables.show(*tables.description(found))


if __name__ == "__main__":
    command_line.run(main, *groups())
