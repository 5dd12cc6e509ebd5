"""Tokenizes a corpus once and writes it as arrays that training maps into memory.

python -m shakespeare_gen.prepare --corpus=my_book.txt --output_dir=processed
python -m shakespeare_gen.train --corpus=processed
"""

from absl import logging

from shakespeare_gen.data import tokenizers
from shakespeare_gen.options import OptionGroup, Options, command_line, spelling
from shakespeare_gen.options.groups import ArrayOptions, CorpusOptions


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return CorpusOptions, *tokenizers.groups(), ArrayOptions


def main(options: Options) -> None:
    """The command: writes the arrays and names the command that trains on them."""
    from shakespeare_gen.data import corpora
    from shakespeare_gen.data.arrays import writing

    corpus = corpora.load(options[CorpusOptions])
    place, spec = writing.write(corpus, options)
    array_path = place.array_path("windows")
    logging.info(
        "Wrote %s windows of %d tokens, one every %s of %s, to %s (%s bytes)",
        f"{spec.num_windows:,}",
        spec.window_chars + 1,
        spelling.count(spec.options["window_stride"] or spec.window_chars, "token"),
        f"{spec.num_tokens:,}",
        array_path,
        f"{array_path.stat().st_size:,}",
    )
    command = spelling.command_line("train", {"corpus": str(place.spec_path)})
    logging.info("train on them: %s", command)


if __name__ == "__main__":
    command_line.run(main, *groups())
