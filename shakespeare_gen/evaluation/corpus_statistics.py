"""Statistics of a corpus before training.

Characters, encoding and text shared between splits are computed exactly, in chunks. Repeated text
and entropy need arrays many times the size of the text: for long texts they are estimated from a
sample, which the figures state. Knows nothing about training; does not use TensorFlow.

    found = describe(corpora.load(options))
    found["splits"]["train"]["characters"], found["facts"], found["entropy"]
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from shakespeare_gen.data import mojibake, texts
from shakespeare_gen.data.corpora import SPLITS, Corpus
from shakespeare_gen.data.documents import END_CHARACTER
from shakespeare_gen.data.tokenizers import CharacterTokenizer
from shakespeare_gen.evaluation import ngrams, repeats
from shakespeare_gen.models.loss_units import bits_per_character

RARE_COUNT = 10
BLOCK_CHARS = 100
SHARED_CHARS = 50
MAX_SHOWN = 30
MAX_EXCERPT_CHARS = 60
MAX_SORTED_CHARS = 5_000_000  # a suffix array and derived arrays: 60 bytes per character
MAX_NGRAM_CHARS = 1_010_000  # counts of nine orders: up to 700 bytes per character
HELD_OUT_PART = 4  # a quarter of that many held-out characters are scored
NUM_STRETCHES = 100  # parts of a sample for n-grams


def describe(
    corpus: Corpus,
    *,
    max_sorted_chars: int = MAX_SORTED_CHARS,
    max_ngram_chars: int = MAX_NGRAM_CHARS,
) -> dict[str, Any]:
    """The statistics of a corpus, as JSON values.

    Args:
      max_sorted_chars: repeated text is estimated if the training text is longer.
      max_ngram_chars: entropy is estimated from a sample if a text is longer.

    Returns:
      `files` that were read or skipped, `sampled` with the lengths of the splits that are samples,
      and of the whole ones, `splits` by name, `facts` by label, `entropy` with one row per n-gram
      order, and `ngram_chars`: for train and validation, the number of characters used for the
      entropy.
    """
    counts = {split: texts.character_counts(getattr(corpus, split)) for split in SPLITS}
    tokenizer = CharacterTokenizer("".join(counts["train"]))
    entropy, ngram_chars = _entropy(corpus, tokenizer, max_ngram_chars)
    return {
        "corpus": corpus.name,
        "files": [dataclasses.asdict(file) for file in corpus.files],
        "sampled": corpus.samples(),
        "splits": {
            split: _split(corpus, split, counts[split]) for split in SPLITS if counts[split]
        },
        "facts": {
            "encoding": _encoding(corpus, counts),
            **_characters(counts),
            **_repeats(corpus.train, max_sorted_chars),
        },
        "entropy": entropy,
        "ngram_chars": ngram_chars,
    }


def _split(corpus: Corpus, split: str, counts: dict[str, int]) -> dict[str, Any]:
    text = getattr(corpus, split)
    not_ascii = sum(count for character, count in counts.items() if not character.isascii())
    found = {
        "characters": len(text),
        "bytes": sum(len(c.encode("utf-8", "surrogatepass")) * n for c, n in counts.items()),
        "lines": counts.get("\n", 0),
        "not_ascii": not_ascii / len(text),
    }
    for other in SPLITS[: SPLITS.index(split)]:
        shared = repeats.shared_share(text, getattr(corpus, other), SHARED_CHARS)
        found[f"shared_with_{other}"] = shared
    return found


def _encoding(corpus: Corpus, counts: dict[str, dict[str, int]]) -> str:
    """The encoding, and signs that the text was decoded with a wrong one."""
    damage = sum(found.get("\N{REPLACEMENT CHARACTER}", 0) for found in counts.values())
    every = {character for found in counts.values() for character in found}
    controls = sum(not c.isprintable() and not c.isspace() and c != END_CHARACTER for c in every)
    notes = [f"{damage:,} undecodable characters"] * bool(damage)
    notes += [f"{controls} kinds of control characters"] * bool(controls)
    misread = filter(None, (mojibake.find(getattr(corpus, split)) for split in SPLITS))
    notes += [f"{found}; mend it with {found.remedy}" for found in list(misread)[:1]]
    encodings = dict.fromkeys(file.encoding for file in corpus.files if file.encoding)
    source = ", ".join(encodings) or "Unicode, not from files"
    return source + (": " + ", ".join(notes) if notes else ", clean")


def _characters(counts: dict[str, dict[str, int]]) -> dict[str, Any]:
    train = counts["train"]
    rare = sorted((count, c) for c, count in train.items() if count < RARE_COUNT)
    unseen = sorted({*counts["validation"], *counts["test"]} - train.keys())
    return {
        "vocabulary": len(train),
        f"characters that occur fewer than {RARE_COUNT} times": _listed(
            [f"{c!r} {count}" for count, c in rare]
        ),
        "characters missing from training": _listed([repr(c) for c in unseen]),
    }


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    more = f", and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return f"{len(names)}: " + ", ".join(names[:MAX_SHOWN]) + more


def _repeats(text: str, max_sorted_chars: int) -> dict[str, str]:
    """Text that repeats earlier text, in blocks of at least `BLOCK_CHARS`."""
    found = repeats.find(text, BLOCK_CHARS, max_sorted_chars)
    end = found.longest_position + min(found.longest_chars, MAX_EXCERPT_CHARS)
    excerpt = text[found.longest_position : end]
    block = f"{found.longest_chars:,} characters, first at {found.longest_position:,}: {excerpt!r}"
    block += "…" if found.longest_chars > MAX_EXCERPT_CHARS else ""
    share = f"{found.share:.1%}"
    if found.num_sampled:
        drawn = f"{found.num_sampled:,} characters drawn at random"
        share += f", estimated from {drawn}"
        block = f"at least {block}; the longest around {drawn}"
        block = block if found.share else f"none around {drawn}"
    return {
        f"share of training text in repeated blocks of {BLOCK_CHARS}": share,
        "longest block that occurs twice": block,
    }


def _entropy(
    corpus: Corpus, tokenizer: CharacterTokenizer, max_chars: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Bits per character given the preceding ones, by order, of training and held-out text."""
    ids = tokenizer.encode(sample(corpus.train, max_chars))
    held_out = sample(corpus.validation, max_chars // HELD_OUT_PART)
    held_out_ids = tokenizer.encode(tokenizer.prepare(held_out, "skip"))
    entropies = list(conditional_entropies(ids, tokenizer.start_id, ngrams.MAX_CONTEXT_TOKENS))
    model = ngrams.NGrams(ids, tokenizer.size, tokenizer.start_id)
    losses = model.frozen(held_out_ids).mean(1).tolist() if len(held_out_ids) else []
    rows = [
        {
            "order": k + 1,
            "training_bits": bits_per_character(entropy),
            "validation_bits": bits_per_character(losses[k]) if losses else None,
        }
        for k, entropy in enumerate(entropies)
    ]
    return rows, {"train": len(ids), "validation": len(held_out)}


def sample(text: str, max_chars: int) -> str:
    """The whole text, or a sample of `NUM_STRETCHES` equally spaced parts of it."""
    if len(text) <= max_chars:
        return text
    size = max(max_chars // NUM_STRETCHES, 1)
    begins = np.linspace(0, len(text) - size, NUM_STRETCHES).astype(np.int64)
    return "".join(text[begin : begin + size] for begin in begins)


def conditional_entropies(
    ids: np.ndarray, start_id: int, max_context_tokens: int
) -> Iterator[float]:
    """Empirical entropy of a character given the 0, 1, … preceding ones, in nats.

    It falls to zero when the text is too short for contexts to occur twice.
    """

    def entropy(hashes: np.ndarray) -> float:
        p = np.unique(hashes, return_counts=True)[1] / len(hashes)
        return float(-(p @ np.log(p)))

    for contexts, events in ngrams.hashes(ids, start_id, max_context_tokens):
        yield max(entropy(events) - entropy(contexts), 0.0)  # not -0.0
