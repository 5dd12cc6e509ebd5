"""Looks at a corpus before training: characters, duplicates, overlap, entropy, a fitting recipe.

python -m shakespeare_gen.describe --corpus=my_novel.txt
"""

import dataclasses

from shakespeare_gen.options import command_line, groups
from shakespeare_gen.system import extras


def main(corpus_config: groups.CorpusOptions) -> None:
    """The command: prints what it found."""
    extras.require("evaluate", "inspect")
    from shakespeare_gen.data import corpora
    from shakespeare_gen.evaluation import corpus_statistics
    from shakespeare_gen.report import tables

    corpus = corpora.load(**dataclasses.asdict(corpus_config))
    found = corpus_statistics.inspect(
        corpus, corpus_config.encoding if corpora.is_files(corpus.name) else None
    )
    tables.show(*tables.inspection(found))


if __name__ == "__main__":
    command_line.run(main, *groups.INSPECT_GROUPS)
