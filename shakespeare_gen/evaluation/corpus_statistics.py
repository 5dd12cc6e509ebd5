"""Statistics of a corpus before training, and a suitable recipe.

Characters, encoding and text shared between splits are computed exactly, in chunks. Repeated text
and entropy need arrays many times the size of the text: for long texts they are estimated from a
sample, which the figures state. Knows nothing about runs; does not use TensorFlow.

    found = describe(corpora.load(options))
    found["splits"]["train"]["characters"], found["facts"], found["entropy"]
"""

import dataclasses
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from shakespeare_gen import models
from shakespeare_gen.data import texts
from shakespeare_gen.data.corpora import SPLITS, Corpus
from shakespeare_gen.data.documents import END_CHARACTER
from shakespeare_gen.data.tokenizers import CharacterTokenizer
from shakespeare_gen.evaluation import ngrams, repeats
from shakespeare_gen.models.loss_units import bits_per_character
from shakespeare_gen.options import Options, spelling

RARE_COUNT = 10
BLOCK_CHARS = 100
SHARED_CHARS = 50
MAX_SHOWN = 30
MAX_EXCERPT_CHARS = 60
MAX_SORTED_CHARS = 5_000_000  # a suffix array and derived arrays: 60 bytes per character
MAX_NGRAM_CHARS = 1_010_000  # counts of nine orders: up to 700 bytes per character
HELD_OUT_PART = 4  # a quarter of that many held-out characters are scored
NUM_STRETCHES = 100  # parts of a sample for n-grams

# A training step has three passes (forward, gradients of inputs, gradients of weights) with two
# operations per weight; the rest of the step takes half as long.
OPERATIONS_PER_WEIGHT = 6
SHARE_OF_PEAK = 0.6

# UTF-8 decoded as cp1252 or Latin-1: lead bytes with their continuation bytes.
_CONTINUATION = "".join(map(chr, range(0x80, 0xC0))) + bytes(range(0x80, 0xC0)).decode(
    "cp1252", "ignore"
)
_MISREAD = re.compile(
    rf"(?<![^\x00-\x7f])(?:[\xc2-\xf4][{re.escape(_CONTINUATION)}]+)+(?![^\x00-\x7f])"
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe in `flags/` for texts of up to `max_chars`; a test compares it with the file."""

    path: str
    max_chars: float
    model: dict[str, Any]
    epochs: int


def _model(units: int) -> dict[str, Any]:
    return {"cell": "lstm", "units": units, "num_layers": 1, "embedding_size": 64}


RECIPES = (
    Recipe("flags/own_text.cfg", 700_000, _model(384), 12),
    Recipe("flags/tiny_shakespeare.cfg", float("inf"), _model(512), 15),
)


def describe(
    corpus: Corpus,
    encoding: str | None = "utf-8",
    *,
    given: Mapping[str, Any] | None = None,
    max_sorted_chars: int = MAX_SORTED_CHARS,
    max_ngram_chars: int = MAX_NGRAM_CHARS,
) -> dict[str, Any]:
    """The statistics of a corpus, as JSON values.

    Args:
      encoding: the encoding of the files; None if the text does not come from files.
      max_sorted_chars: repeated text is estimated if the training text is longer.
      given: the options of the corpus, for the recommended command.
      max_ngram_chars: entropy is estimated from a sample if a text is longer.

    Returns:
      `splits` by name, `facts` by label, `entropy` with one row per n-gram order, and
      `ngram_chars`: for train and validation, the number of characters used for the entropy.
    """
    counts = {split: texts.character_counts(getattr(corpus, split)) for split in SPLITS}
    vocabulary_size = len(counts["train"])
    tokenizer = CharacterTokenizer("".join(counts["train"]))
    entropy, ngram_chars = _entropy(corpus, tokenizer, max_ngram_chars)
    return {
        "corpus": corpus.name,
        "splits": {
            split: _split(corpus, split, counts[split]) for split in SPLITS if counts[split]
        },
        "facts": {
            "encoding": _encoding(corpus, counts, encoding),
            **_characters(counts),
            **_repeats(corpus.train, max_sorted_chars),
            **_recipe(corpus, vocabulary_size, given or {}),
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


def _encoding(corpus: Corpus, counts: dict[str, dict[str, int]], encoding: str | None) -> str:
    """The encoding, and signs that the text was decoded with a wrong one."""
    damage = sum(found.get("\N{REPLACEMENT CHARACTER}", 0) for found in counts.values())
    every = {character for found in counts.values() for character in found}
    controls = sum(not c.isprintable() and not c.isspace() and c != END_CHARACTER for c in every)
    misread = 0
    if any("\xc2" <= c <= "\xf4" for c in every):
        misread = sum(num_misread(getattr(corpus, split)) for split in SPLITS)
    notes = [f"{damage:,} undecodable characters"] * bool(damage)
    notes += [f"{controls} kinds of control characters"] * bool(controls)
    notes += [f"{misread:,} sequences of UTF-8 decoded as another encoding"] * bool(misread)
    source = encoding or "Unicode, not from files"
    return source + (": " + ", ".join(notes) if notes else ", clean")


def num_misread(text: str) -> int:
    """The number of sequences that are UTF-8 decoded as cp1252 or Latin-1: `Ã©` for é."""

    def is_utf_8(run: str, codec: str) -> bool:
        try:
            run.encode(codec).decode("utf-8")
        except UnicodeError:
            return False
        return True

    runs = (match[0] for match in _MISREAD.finditer(text))
    return sum(is_utf_8(run, "cp1252") or is_utf_8(run, "latin-1") for run in runs)


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


def _recipe(corpus: Corpus, vocabulary_size: int, given: Mapping[str, Any]) -> dict[str, Any]:
    num_chars = len(corpus.train)
    recipe = next(r for r in RECIPES if num_chars <= r.max_chars)
    options = Options.parse(models.groups(), recipe.model)
    num_parameters = models.spec_of(vocabulary_size, options).num_parameters
    operations = OPERATIONS_PER_WEIGHT * num_parameters * num_chars * recipe.epochs
    minutes = operations / (SHARE_OF_PEAK * operations_per_second()) / 60
    # The corpus comes after the recipe, which sets a corpus itself.
    own = {"corpus": corpus.name, "run_dir": "runs/mine"}
    arguments = {"flagfile": recipe.path, **given, **own}
    return {
        "recipe": spelling.command_line("train", arguments),
        "its parameters": num_parameters,
        "expected minutes on this processor": round(minutes),
    }


def operations_per_second(size: int = 1024, rounds: int = 5) -> float:
    """The speed of matrix products on this machine, float32, all cores."""
    a = np.ones((size, size), np.float32)
    a @ a
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)
