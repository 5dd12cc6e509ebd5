"""What a corpus is like before anything is trained on it, and which recipe fits it.

Knows text alone; TensorFlow is needed only by the corpora that TFDS prepares.
"""

import collections
import dataclasses
import re
import time
from typing import Any

import numpy as np

from shakespeare_gen.data.corpora import END_CHARACTER, SPLITS, Corpus
from shakespeare_gen.data.tokenizers.characters import Vocabulary
from shakespeare_gen.evaluation import copying, ngrams
from shakespeare_gen.models import specs
from shakespeare_gen.models.loss_units import bits_per_character

RARE_COUNT = 10
BLOCK_CHARS = 100
SHARED_CHARS = 50
MAX_SHOWN = 30
# A training step is three passes (forward, gradients of inputs, of weights) of two
# operations a weight; the rest of the step costs as much as half of that again.
OPERATIONS_A_WEIGHT = 6
SHARE_OF_PEAK = 0.6


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe of `flags/`, for texts of up to `max_chars`; a test holds it to its file."""

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


def inspect(corpus: Corpus, encoding: str | None = "utf-8") -> dict[str, Any]:
    """The figures as JSON values: `splits`, `facts` and `entropy` by n-gram order.

    Args:
      encoding: that of the files, which `corpora` found their bytes to agree with; None: the
        text came from no file.
    """
    vocabulary = Vocabulary.from_text(corpus.train)
    return {
        "corpus": corpus.name,
        "splits": {split: _describe(corpus, split) for split in SPLITS if getattr(corpus, split)},
        "facts": {
            "encoding": _encoding(corpus, encoding),
            **_characters(corpus, vocabulary),
            **_duplicates(corpus.train),
            **_recipe(corpus, vocabulary.size),
        },
        "entropy": _entropy(corpus, vocabulary),
    }


def _describe(corpus: Corpus, split: str) -> dict[str, Any]:
    text = getattr(corpus, split)
    found = {
        "characters": len(text),
        "bytes": len(text.encode("utf-8", "surrogatepass")),
        "lines": text.count("\n"),
        "not_ascii": sum(not c.isascii() for c in text) / len(text),
    }
    for other in SPLITS[: SPLITS.index(split)]:
        matches = copying.find(text, getattr(corpus, other))
        found[f"shared_with_{other}"] = matches.covered_share(SHARED_CHARS)
    return found


def _encoding(corpus: Corpus, encoding: str | None) -> str:
    """The encoding, and what a text that was decoded with a wrong one holds."""
    damage = sum(text.count("\N{REPLACEMENT CHARACTER}") for text in _texts(corpus))
    controls = sum(
        not c.isprintable() and not c.isspace() and c != END_CHARACTER
        for c in set("".join(_texts(corpus)))
    )
    misread = sum(map(_misread, _texts(corpus)))
    notes = [f"{damage:,} undecodable places"] * bool(damage)
    notes += [f"{controls} kinds of control characters"] * bool(controls)
    notes += [f"{misread:,} places that look like UTF-8 read as something else"] * bool(misread)
    return (encoding or "Unicode, from no file") + (": " + ", ".join(notes) if notes else ", clean")


def _misread(text: str) -> int:
    """How many runs of characters are, as bytes of cp1252 or Latin-1, UTF-8: `Ã©` is an é."""

    def is_utf_8(run: str, codec: str) -> bool:
        try:
            run.encode(codec).decode("utf-8")
        except UnicodeError:
            return False
        return True

    runs = re.findall(r"[^\x00-\x7f]{2,}", text)
    return sum(is_utf_8(run, "cp1252") or is_utf_8(run, "latin-1") for run in runs)


def _texts(corpus: Corpus) -> list[str]:
    return [getattr(corpus, split) for split in SPLITS]


def _characters(corpus: Corpus, vocabulary: Vocabulary) -> dict[str, Any]:
    counts = collections.Counter(corpus.train)
    rare = sorted((count, c) for c, count in counts.items() if count < RARE_COUNT)
    unseen = sorted(set(corpus.validation + corpus.test) - set(vocabulary.characters))
    return {
        "vocabulary": vocabulary.size,
        f"characters seen fewer than {RARE_COUNT} times": _listed(
            [f"{c!r} {count}" for count, c in rare]
        ),
        "characters that training lacks": _listed([repr(c) for c in unseen]),
    }


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    more = f", and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return f"{len(names)}: " + ", ".join(names[:MAX_SHOWN]) + more


def _duplicates(text: str) -> dict[str, Any]:
    """Text that stood before, in blocks of at least `BLOCK_CHARS`."""
    order, shared = copying.sorted_places(copying.joined_ids(text, ""))
    # Places that share a block stand together: all but the first one in the text repeat it.
    group = np.concatenate([[0], np.cumsum(shared[:-1] < BLOCK_CHARS)])
    first = np.minimum.reduceat(order, np.flatnonzero(np.diff(group, prepend=-1)))
    repeats = np.sort(order[order != first[group]])
    ends = np.zeros(len(order) + BLOCK_CHARS, np.int64)
    np.add.at(ends, repeats, 1)
    np.add.at(ends, repeats + BLOCK_CHARS, -1)
    covered = np.cumsum(ends)[: len(text)] > 0
    longest = int(shared[:-1].argmax())
    place = int(min(order[longest], order[longest + 1]))
    size = int(shared[longest])
    return {
        f"share of training text in repeated blocks of {BLOCK_CHARS}": f"{covered.mean():.1%}",
        "longest block that stands there twice": (
            f"{size:,} characters, first at {place:,}: {text[place : place + min(size, 60)]!r}"
            + ("…" if size > 60 else "")
        ),
    }


def _entropy(corpus: Corpus, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Bits a character given those before it, by order: within training, and held out."""
    ids = vocabulary.encode(corpus.train)
    model = ngrams.NGrams(ids, vocabulary.size, vocabulary.start_id)
    held_out = vocabulary.encode_known(corpus.validation)
    losses = model.frozen(held_out).mean(1).tolist() if len(held_out) else []
    return [
        {
            "order": k + 1,
            "training_bits": bits_per_character(conditional_entropy(ids, k)),
            "validation_bits": bits_per_character(losses[k]) if losses else None,
        }
        for k in range(model.max_context_chars + 1)
    ]


def conditional_entropy(ids: np.ndarray, context_chars: int) -> float:
    """Entropy in nats of a character given `context_chars` before it, as counted: it falls to
    zero where a text is too short to show a context twice."""
    hashes = list(ngrams.hashes(ids, 0, context_chars))[-1]
    totals, events = (np.unique(h, return_counts=True)[1] for h in hashes)

    def entropy(counts):
        p = counts / counts.sum()
        return float(-(p @ np.log(p)))

    return entropy(events) - entropy(totals)


def _recipe(corpus: Corpus, vocabulary_size: int) -> dict[str, Any]:
    num_chars = len(corpus.train)
    recipe = next(r for r in RECIPES if num_chars <= r.max_chars)
    shapes = specs.weight_shapes(vocabulary_size, **recipe.model)
    num_parameters = specs.num_parameters(shapes)
    operations = OPERATIONS_A_WEIGHT * num_parameters * num_chars * recipe.epochs
    minutes = operations / (SHARE_OF_PEAK * operations_per_second()) / 60
    return {
        # The recipe names a corpus of its own, so this one follows it.
        "recipe": f"--flagfile={recipe.path} --corpus={corpus.name} --run_dir=runs/mine",
        "its parameters": num_parameters,
        "expected minutes on this processor": round(minutes),
    }


def operations_per_second(size: int = 1024, rounds: int = 5) -> float:
    """What matrix products reach on this machine, float32, all cores."""
    a = np.ones((size, size), np.float32)
    a @ a
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)
