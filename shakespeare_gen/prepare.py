"""Tokenizes a corpus once and writes it as arrays that training maps into memory: every window of
a text that fits into memory, or the tokens of a text of any size in shards.

python -m shakespeare_gen.prepare --corpus=my_book.txt --output_dir=processed
python -m shakespeare_gen.prepare --corpus=my_folder --layout=shards --output_dir=processed
python -m shakespeare_gen.train --corpus=processed
"""

import os
import pathlib

from absl import logging

from shakespeare_gen.data import tokenizers
from shakespeare_gen.options import OptionGroup, Options, command_line, spelling
from shakespeare_gen.options.groups import ArrayOptions, CorpusOptions
from shakespeare_gen.system.signals import Interruption

MAX_WINDOWS_BYTES = 2**26  # of files whose windows are written by default


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return CorpusOptions, *tokenizers.groups(), ArrayOptions


def main(options: Options) -> None:
    """The command: writes the arrays and names the command that trains on them."""
    layout = options[ArrayOptions].layout
    if layout == "auto":
        layout = _suitable_layout(options[CorpusOptions])
    path = _write_shards(options) if layout == "shards" else _write_windows(options)
    logging.info("train on them: %s", spelling.command_line("train", {"corpus": str(path)}))


def _suitable_layout(options: CorpusOptions) -> str:
    from shakespeare_gen.data import corpora, json_lines
    from shakespeare_gen.data.sources import files

    if not corpora.is_files(options.corpus):
        return "shards" if options.corpus.startswith("tfds:") else "windows"
    paths = files.find(options.corpus).read
    is_large = sum(map(os.path.getsize, paths)) > MAX_WINDOWS_BYTES
    return "shards" if is_large or any(map(json_lines.is_json_lines, paths)) else "windows"


def _write_windows(options: Options) -> pathlib.Path:
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
    return place.spec_path


def _write_shards(options: Options) -> pathlib.Path:
    from shakespeare_gen.data.shards import writing

    with Interruption():  # SIGTERM ends the processes, too
        folder, written = writing.write(options)
    logging.info(
        "Wrote %s of a vocabulary of %s in %s to %s (%s bytes); held out: %s characters for "
        "validation, %s for test",
        spelling.count(written.num_tokens, "token"),
        f"{written.tokenizer.size:,}",
        spelling.count(len(written.shards), "shard"),
        folder,
        f"{sum(file.num_bytes for file in written.shards):,}",
        f"{written.chars['validation']:,}",
        f"{written.chars['test']:,}",
    )
    if written.num_missed:
        logging.warning(
            "the words did not fit into memory: a word may occur up to %s times more than was "
            "counted",
            f"{written.num_missed:,}",
        )
    return folder


if __name__ == "__main__":
    command_line.run(main, *groups())
