"""Looks at a corpus before training: characters, duplicates, overlap, entropy, a fitting recipe.

python -m shakespeare_gen.inspect --corpus=my_novel.txt
"""

import dataclasses

from shakespeare_gen import cli, config, extras


def main(corpus_config: config.CorpusConfig) -> None:
    """The command: prints what it found."""
    extras.require("evaluate", "inspect")
    from shakespeare_gen import corpora, inspection
    from shakespeare_gen.report import tables

    corpus = corpora.load(**dataclasses.asdict(corpus_config))
    found = inspection.inspect(
        corpus, corpus_config.encoding if corpora.is_files(corpus.name) else None
    )
    tables.show(*tables.inspection(found))


if __name__ == "__main__":
    cli.run(main, *config.INSPECT_GROUPS)
