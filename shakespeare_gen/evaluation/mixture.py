"""A mixture of a model with n-grams and matches of the same text, with weights learned online.

    log p(x) = sum of w_m log p_m(x) - log Z

a geometric mixture of whole distributions (Mattern 2012, "Mixing strategies in data compression"),
which context-mixing compressors such as PAQ compute bit by bit. It is normalized over the
vocabulary, and so sums to one. After each token the weights take one step along the gradient of its
log-probability. They are the mean of one vector per context: the longest known n-gram, the length
of the match, each of the two tokens before, the model's most likely token. The prediction of a
token depends only on the preceding tokens.

Members beside the model: interpolated Kneser-Ney n-grams of the training text and of what was read,
one for each context length; n-grams of what was read alone; contexts of `words`; `matches`.

Shapes: N tokens, T tokens of a segment, M members, V vocabulary.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from shakespeare_gen.evaluation import words
from shakespeare_gen.evaluation.adapting_counts import AdaptingCounts, Context
from shakespeare_gen.evaluation.matches import NUM_BUCKETS, Matches
from shakespeare_gen.evaluation.ngrams import NGrams, adapting

# The best of 0.0005, 0.001, 0.002 and more, on the validation text of tiny_shakespeare with
# `flags/quick.cfg`.
LEARNING_RATE = 1e-3
LOCAL_CONTEXT_TOKENS = 6  # better there than up to 5; longer ones were not tried
# The first weights, of the model and of the longest n-grams; others were not tried.
MODEL_WEIGHT, NGRAM_WEIGHT = 0.6, 0.3
_FLOOR = 1e-12


class Mixer:
    """The weights of a mixture and how they learn.

    Args:
      first_weights: [M].
      num_contexts: the number of contexts of each kind.
    """

    def __init__(self, first_weights: np.ndarray, num_contexts: Sequence[int]) -> None:
        self._weights = [np.tile(first_weights, (number, 1)) for number in num_contexts]

    def log_probabilities(self, members: np.ndarray, contexts: Sequence[int]) -> np.ndarray:
        """The mixture [V] of log-probabilities `members` [M, V]."""
        own = [weights[i] for weights, i in zip(self._weights, contexts, strict=True)]
        mixed = (np.mean(own, axis=0)) @ members
        mixed -= mixed.max()
        return mixed - np.log(np.exp(mixed).sum())

    def learn(
        self, members: np.ndarray, contexts: Sequence[int], mixed: np.ndarray, token: int
    ) -> None:
        """Changes the weights after `token`, of which `mixed` is the prediction."""
        gradient = members[:, token] - members @ np.exp(mixed)
        for weights, i in zip(self._weights, contexts, strict=True):
            weights[i] += LEARNING_RATE * gradient


def mixed_nats(
    ids: np.ndarray,
    segments: Iterable[np.ndarray],
    train_ids: np.ndarray,
    ngrams: NGrams,
    letter_of: np.ndarray,
) -> np.ndarray:
    """Loss of the mixture on each token of `ids`: nats [N].

    Args:
      segments: the log-probabilities [T, V] of the model, for all tokens in order.
      ngrams: the counts of `train_ids`.
      letter_of: see `words.letters`.
    """
    size = ngrams.vocabulary_size
    known = adapting(ngrams, ids, len(ngrams.orders) - 1)
    counted = (
        known,
        adapting(None, ids, LOCAL_CONTEXT_TOKENS),
        words.adapting(train_ids, ids, letter_of),
    )
    mixer = _mixer(counted, size)
    tokens = np.asarray(ids).tolist()
    previous, nats = [ngrams.start_id, ngrams.start_id], []
    rows = itertools.chain.from_iterable(segments)
    every = zip(tokens, rows, *counted, Matches(train_ids, ids, size), strict=True)
    for token, row, *contexts_of, (match, bucket) in every:
        own = zip(contexts_of, counted, strict=True)
        distributions = [_interpolated(found, counts.discounts, size) for found, counts in own]
        members = np.stack([row, *itertools.chain.from_iterable(distributions), match])
        contexts = (_num_known(contexts_of[0]), bucket, *previous, int(row.argmax()))
        mixed = mixer.log_probabilities(members, contexts)
        nats.append(-mixed[token])
        mixer.learn(members, contexts, mixed, token)
        previous = [token, previous[0]]
    return np.array(nats)


def _mixer(counted: Sequence[AdaptingCounts], size: int) -> Mixer:
    """A mixer whose first weights are those of the model and of the longest n-grams."""
    num_levels = [len(counts.discounts) for counts in counted]
    first_weights = np.zeros(1 + sum(n - 1 for n in num_levels) + 1)
    first_weights[[0, num_levels[0] - 1]] = MODEL_WEIGHT, NGRAM_WEIGHT
    return Mixer(first_weights, (num_levels[0] + 1, NUM_BUCKETS, size, size, size))


def _interpolated(
    contexts: Sequence[Context], discounts: Sequence[float], size: int
) -> Iterator[np.ndarray]:
    """The log-probabilities [V] of the next token at each level, except the first."""
    p = np.full(size, 1 / size)
    for number, (context, discount) in enumerate(zip(contexts, discounts, strict=True)):
        if context.total:
            tokens = np.fromiter(context.counts.keys(), np.int64, len(context.counts))
            counts = np.fromiter(context.counts.values(), np.float64, len(context.counts))
            p = p * (discount * len(tokens) / context.total)
            p[tokens] += (counts - discount) / context.total
        if number:
            yield np.log(np.maximum(p, _FLOOR))


def _num_known(contexts: Sequence[Context]) -> int:
    """The number of contexts, beginning with the shortest, that something has followed."""
    return sum(context.total > 0 for context in contexts)
