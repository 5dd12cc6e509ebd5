"""The n-gram family: interpolated Kneser-Ney probabilities, counted instead of trained.

Options, tables and the check of tables that are read from a file; `ngram_model` computes with them,
`ngram_counts` counts. The weights are the tables of a trie of contexts. A context is found by its
last token, then by the token before it, and so on: node 0 is the empty context, and the child of
node c for token t has the key c V + t. The nodes are numbered in the order of their keys, so that
a parent comes before its children and one sorted array holds all keys:

    contexts/keys         int64 [C - 1], of the nodes 1, 2, ...
    contexts/begins       int32 [C + 1], where the n-grams of each node begin, and the end
    contexts/backoffs     float32 [C], the factor of the probabilities of the shorter context
    ngrams/ids            int32 [G], the tokens that follow a node, ascending
    ngrams/probabilities  float32 [G], after the discount

How long they are depends on the training text. Shapes: C contexts of all lengths, G n-grams.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from shakespeare_gen.errors import UserError
from shakespeare_gen.models import ngram_counts
from shakespeare_gen.models.language_model import LanguageModel
from shakespeare_gen.models.ngram_counts import Order, Smoothed
from shakespeare_gen.models.specs import Spec
from shakespeare_gen.options import OptionGroup, option

NUM_DISCOUNTS = {"kneser_ney": 1, "modified_kneser_ney": 3}
MIN_PRUNED_CONTEXT_TOKENS = 2  # n-grams of fewer than three tokens are all kept
MAX_SUM_ERROR = 1e-3  # of the float32 probabilities after a context

Tables = Mapping[str, np.ndarray]


class NGramOptions(OptionGroup):
    """Interpolated Kneser-Ney n-grams."""

    TITLE = "N-grams"

    # The defaults are the best on the validation text of tiny_shakespeare up to 0.003 nats.
    ngram_order: int = option(
        8, "with model=ngram: number of tokens of the longest n-grams", minimum=1, maximum=16
    )
    ngram_smoothing: str = option(
        "modified_kneser_ney",
        "one discount per order (kneser_ney), or three, by count",
        choices=NUM_DISCOUNTS,
    )
    ngram_min_count: int = option(
        2, "leave out n-grams of three or more tokens that occur less often", minimum=1
    )
    ngram_max_size: int = option(
        20_000_000,
        "maximum number of different n-grams in the training text, of about 100 bytes each",
        minimum=1,
        maximum=10**8,
    )


@dataclasses.dataclass(frozen=True)
class NGramSpec(Spec):
    """The spec of n-grams with the given options."""

    family = "ngram"
    size_options = ("ngram_max_size",)

    vocabulary_size: int
    options: NGramOptions

    @property
    def max_context_tokens(self) -> int:
        """Tokens of the longest contexts."""
        return self.options.ngram_order - 1

    def weight_shapes(self):
        most = self.options.ngram_max_size  # no context is without an n-gram
        return {
            "contexts/keys": (range(most),),
            "contexts/begins": (range(2, most + 2),),
            "contexts/backoffs": (range(1, most + 1),),
            "ngrams/ids": (range(1, most + 1),),
            "ngrams/probabilities": (range(1, most + 1),),
        }

    def weight_dtypes(self):
        special = {"contexts/keys": "int64", "contexts/begins": "int32", "ngrams/ids": "int32"}
        return {name: special.get(name, "float32") for name in self.weight_shapes()}

    def state_shapes(self, batch_size):
        return [(batch_size, self.max_context_tokens)]

    def find_damage(self, weights: Tables) -> str | None:
        found = (message for is_wrong, message in _checks(self, weights) if is_wrong)
        return next(found, None)


def levels(keys: np.ndarray, spec: NGramSpec) -> list[int]:
    """The first node of each context length, and the number of nodes; `keys` are valid.

    Ends early if there are contexts that are too long.
    """
    vocabulary_size, found = spec.vocabulary_size, [0, 1]
    while found[-1] <= len(keys) and len(found) < spec.options.ngram_order + 1:
        found.append(1 + int(np.searchsorted(keys, found[-1] * vocabulary_size)))
    return found


def _checks(spec: NGramSpec, weights: Tables) -> Iterator[tuple[bool, str]]:
    """Whether tables are wrong, and what was expected; in an order in which each can be checked."""
    keys, begins, backoffs = (weights[f"contexts/{n}"] for n in ("keys", "begins", "backoffs"))
    ids, probabilities = weights["ngrams/ids"], weights["ngrams/probabilities"]
    size = spec.vocabulary_size
    are_equal = len(keys) + 2 == len(begins) == len(backoffs) + 1 and len(ids) == len(probabilities)
    yield not are_equal, "expected tables of equal length"
    yield bool((np.diff(keys) <= 0).any()), "expected ascending keys of contexts"
    is_outside = (keys < 0) | (keys // size > np.arange(len(keys)))
    yield bool(is_outside.any()), "expected keys of contexts within the table"
    is_too_long = levels(keys, spec)[-1] <= len(keys)
    yield is_too_long, f"expected contexts of at most {spec.max_context_tokens} tokens"
    is_whole = begins[0] == 0 and begins[-1] == len(ids) and (np.diff(begins) > 0).all()
    yield not is_whole, "expected ascending begins from the first n-gram to the last"
    yield bool(((ids < 0) | (ids >= size)).any()), f"expected ids below {size}"
    same_context = np.repeat(np.arange(len(backoffs)), np.diff(begins))
    is_descending = (np.diff(ids) <= 0) & (np.diff(same_context) == 0)
    yield bool(is_descending.any()), "expected ascending ids after each context"
    is_share = (backoffs > 0).all() and (probabilities >= 0).all()
    sums = backoffs + np.add.reduceat(probabilities, begins[:-1])
    is_one = (np.abs(sums - 1) <= MAX_SUM_ERROR).all()
    yield not (is_share and is_one), "expected positive probabilities that sum to one"


class Counted(NamedTuple):
    """The tables of a training text, and its mean loss in nats per token."""

    weights: dict[str, np.ndarray]
    nats: float


def count(spec: NGramSpec, ids: np.ndarray, start_id: int) -> Counted:
    """Counts the n-grams of a training text [N].

    Raises:
      UserError: there are more than `ngram_max_size` of them.
    """

    def check(num_ngrams: int) -> None:
        if num_ngrams > spec.options.ngram_max_size:
            raise UserError(
                f"ngram_max_size: expected at most {spec.options.ngram_max_size:,} different "
                f"n-grams in the training text, received {num_ngrams:,} or more; reduce "
                "`ngram_order`, or increase `ngram_max_size` if there is memory for them"
            )

    size = spec.vocabulary_size
    orders = ngram_counts.count(ids, size, start_id, spec.max_context_tokens, check)
    parts = [_smoothed(spec, order, order is orders[-1]) for order in orders]
    return Counted(_tables(orders, parts), _mean_nats(orders, parts))


def _smoothed(spec: NGramSpec, order: Order, is_longest: bool) -> Smoothed:
    options, kept = spec.options, None
    if order.context_tokens >= MIN_PRUNED_CONTEXT_TOKENS:
        # By occurrences: an n-gram without its first token occurs at least as often, so that the
        # shorter forms of a context that is kept are kept too.
        kept = order.occurrences >= options.ngram_min_count
    num_discounts = NUM_DISCOUNTS[options.ngram_smoothing]
    return ngram_counts.smoothed(order, is_longest, num_discounts, kept)


def _tables(orders: Sequence[Order], parts: Sequence[Smoothed]) -> dict[str, np.ndarray]:
    """The tables of all orders, without contexts and n-grams that are left out."""
    columns: list[tuple[np.ndarray, ...]] = []
    num_nodes, shorter = 0, np.zeros(0, np.int64)
    for order, part in zip(orders, parts, strict=True):
        is_kept = part.probabilities > 0
        sizes = order.totals(is_kept.astype(np.int64))
        has_any = sizes > 0
        parents, tokens = np.divmod(order.contexts[has_any], order.vocabulary_size)
        keys = shorter[parents] * order.vocabulary_size + tokens if columns else tokens[:0]
        ids = order.ngrams[is_kept] % order.vocabulary_size
        kept_parts = part.backoffs[has_any], ids, part.probabilities[is_kept]
        columns.append((keys, sizes[has_any], *kept_parts))
        shorter = num_nodes + np.cumsum(has_any) - 1
        num_nodes += int(has_any.sum())
    keys, every_size, backoffs, ids, probabilities = map(np.concatenate, zip(*columns, strict=True))
    return {
        "contexts/keys": keys,
        "contexts/begins": np.concatenate([[0], np.cumsum(every_size)]).astype(np.int32),
        "contexts/backoffs": backoffs.astype(np.float32),
        "ngrams/ids": ids.astype(np.int32),
        "ngrams/probabilities": probabilities.astype(np.float32),
    }


def _mean_nats(orders: Sequence[Order], parts: Sequence[Smoothed]) -> float:
    """The mean loss of the training text: every token follows its longest context."""
    p = parts[0].interpolated(
        np.full(len(orders[0].ngrams), 1 / orders[0].vocabulary_size), *orders[0].numbers
    )
    for (lower, order), part in zip(itertools.pairwise(orders), parts[1:], strict=True):
        shorter = ngram_counts.without_first_token(order, lower)
        p = part.interpolated(p[shorter], *order.numbers)
    counts = orders[-1].occurrences
    return float(-(counts @ np.log(p)) / counts.sum())


def uncounted(spec: NGramSpec) -> dict[str, np.ndarray]:
    """The tables of a model that has read nothing: all tokens are equally likely."""
    size = spec.vocabulary_size
    return {
        "contexts/keys": np.zeros(0, np.int64),
        "contexts/begins": np.array([0, size], np.int32),
        "contexts/backoffs": np.full(1, 0.5, np.float32),
        "ngrams/ids": np.arange(size, dtype=np.int32),
        "ngrams/probabilities": np.full(size, 0.5 / size, np.float32),
    }


def build(spec: NGramSpec, precision: str = "float32", kernel: str = "auto") -> LanguageModel:
    """A TensorFlow model that has read nothing; there are no matrix products and no time loop."""
    del precision, kernel
    return from_tensors(spec, uncounted(spec))


def from_arrays(spec: NGramSpec, weights: Tables) -> LanguageModel:
    """A NumPy model with the given tables."""
    from shakespeare_gen.models.ngram_model import NGramModel

    return NGramModel(spec, weights, np)


def from_tensors(spec: NGramSpec, weights: Tables) -> LanguageModel:
    """The same in TensorFlow."""
    import tensorflow.experimental.numpy as tnp

    from shakespeare_gen.models.ngram_model import NGramModel

    return NGramModel(spec, weights, tnp)
