"""Logits to ids; knows no model and no text.

What is asked for is applied in this order, each to what the ones before it left:

 1. penalties on the ids of the window before: repetition (Keskar et al. 2019,
    arXiv 1909.05858), frequency, presence
 2. no-repeat n-gram: ids that would repeat an n-gram of that window
 3. temperature; 0 takes the likeliest and ends here
 4. top-k, top-p (Holtzman et al. 2019, arXiv 1904.09751), min-p (Nguyen et al.
    2024, arXiv 2407.01082), typical (Meister et al. 2022, arXiv 2202.00666)
 5. or, in the place of 4, mirostat 2 (Basu et al. 2020, arXiv 2007.14966)

Beam search takes 1 and 2 alone. At least one candidate always stays.
Shapes: B batch, V vocabulary, W window.
"""

import math
from typing import Any

import tensorflow as tf

# Values that do nothing; what differs from them is on.
NEUTRAL = {
    "repetition_penalty": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "no_repeat_ngram": 0,
    "temperature": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "mirostat_tau": 0.0,
}
PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
# Comparing every pair is several times faster than sorting at 65 ids; beyond this many the pairs
# of a large batch would fill memory.
_MAX_PAIRWISE_SIZE = 256
# What probabilities are multiples of in a draw: sums of whole numbers are exact in any order.
_WHOLE = 2.0**22
# Beyond these float32 makes 0 or infinity, and NaN of what they divide.
_SMALLEST, _LARGEST = 1e-30, 1e30


def active(**options: Any) -> dict[str, Any]:
    """The options that do something; `temperature` is among them unless it is 0."""
    found = {n: _in_range(v) for n, v in options.items() if v != NEUTRAL.get(n)}
    if "mirostat_tau" not in found:
        found.pop("mirostat_eta", None)
    if not looks_back(found):
        found.pop("repeat_window", None)
    return found


def _in_range(value):
    if isinstance(value, float) and value:
        return math.copysign(min(max(abs(value), _SMALLEST), _LARGEST), value)
    return value


def looks_back(options: dict[str, Any]) -> bool:
    """Whether the ids before matter."""
    return any(name in options for name in (*PENALTIES, "no_repeat_ngram"))


def sample(logits, uniform, options: dict[str, Any], recent=None, surprise=None) -> tuple:
    """Picks one id a row: a pure function of the row.

    Args:
      logits: float [B, V]; -inf where an id must not come.
      uniform: float [B] in [0, 1), the place on the cumulative distribution.
      options: as `active` returns them; numbers may be tensors, but for
        `no_repeat_ngram`.
      recent: int32 [B, W], the ids before, -1 where there is none; with penalties.
      surprise: float [B], mirostat's largest surprise in bits; at first 2 tau.

    Returns:
      ids, int32 [B], and the next `surprise`.
    """
    logits = lower_repeats(logits, recent, options)
    if "temperature" not in options:
        return tf.argmax(logits, axis=-1, output_type=tf.int32), surprise
    # Less the largest first, so that a tiny temperature can't overflow.
    logits = (logits - tf.reduce_max(logits, axis=-1, keepdims=True)) / options["temperature"]
    if "mirostat_tau" in options:
        return _mirostat(logits, uniform, surprise, options)
    order = logits  # one order of the ids for all filters: it is computed once
    for name, keep in _FILTERS.items():
        if name in options:
            logits = tf.where(keep(logits, options[name], order), logits, -float("inf"))
    return draw(logits, uniform), surprise


def draw(logits, uniform):
    """The id at the place `uniform` [B] of the cumulative distribution of logits [B, V].

    Probabilities are rounded to multiples of 2**-22: sums that were rounded could stop at an
    id of probability 0.
    """
    cumulative = _cumulative(tf.round(tf.nn.softmax(logits) * _WHOLE))
    total = cumulative[:, -1:]
    place = tf.minimum(tf.floor(uniform[:, None] * total), total - 1)
    return tf.reduce_sum(tf.cast(cumulative <= place, tf.int32), axis=-1)


def lower_repeats(logits, recent, options: dict[str, Any]):
    """Logits [B, V] after the penalties of `options` on the ids of `recent` [B, W]."""
    if any(name in options for name in PENALTIES):
        logits = penalise(logits, recent, options)
    if "no_repeat_ngram" in options:
        logits = forbid_repeats(logits, recent, options["no_repeat_ngram"])
    return logits


def penalise(logits, recent, options: dict[str, Any]):
    """Lowers the logits [B, V] of the ids of `recent` [B, W]."""
    counts = tf.reduce_sum(tf.one_hot(recent, logits.shape[-1], dtype=logits.dtype), axis=1)
    if "repetition_penalty" in options:
        penalty = options["repetition_penalty"]
        lowered = tf.where(logits > 0, logits / penalty, logits * penalty)
        logits = tf.where(counts > 0, lowered, logits)
    if "frequency_penalty" in options:
        logits -= options["frequency_penalty"] * counts
    if "presence_penalty" in options:
        logits -= options["presence_penalty"] * tf.cast(counts > 0, logits.dtype)
    return logits


def forbid_repeats(logits, recent, n: int):
    """Sets ids to -inf that would end an n-gram of `recent` [B, W] once more.

    Where nothing would stay, everything does.
    """
    num_starts = recent.shape[1] - n + 1
    before = recent[:, num_starts:]  # the n - 1 ids that the next one joins
    same = tf.ones_like(recent[:, :num_starts], tf.bool)
    for k in range(n - 1):
        same &= recent[:, k : k + num_starts] == before[:, k, None]
    ends = tf.where(same, recent[:, n - 1 :], -1)
    forbidden = tf.reduce_any(tf.one_hot(ends, logits.shape[-1], True, False, dtype=tf.bool), 1)
    left = tf.where(forbidden, -float("inf"), logits)
    return tf.where(tf.reduce_any(left > -float("inf"), -1, keepdims=True), left, logits)


def keep_top_k(logits, k, order=None):
    """The `k` largest logits [B, V]; of equals the first."""
    order = logits if order is None else order
    return _before(order, tf.ones_like(logits)) < tf.cast(k, logits.dtype)


def keep_top_p(logits, p, order=None):
    """The fewest likeliest ids whose probabilities reach `p`."""
    order = logits if order is None else order
    return _before(order, tf.nn.softmax(logits)) < p


def keep_min_p(logits, p, order=None):
    """Ids at least `p` times as likely as the likeliest."""
    return logits >= tf.reduce_max(logits, -1, keepdims=True) + tf.math.log(
        tf.cast(p, logits.dtype)
    )


def keep_typical(logits, p, order=None):
    """The fewest ids, those nearest to the expected surprise first, that reach `p`."""
    log_p = tf.nn.log_softmax(logits)
    probabilities = tf.exp(log_p)
    surprises = tf.where(probabilities > 0, -log_p, 0)
    entropy = tf.reduce_sum(probabilities * surprises, -1, keepdims=True)
    far = tf.where(probabilities > 0, tf.abs(surprises - entropy), float("inf"))
    return _before(-far, probabilities) < p


_FILTERS = {
    "top_k": keep_top_k,
    "top_p": keep_top_p,
    "min_p": keep_min_p,
    "typical_p": keep_typical,
}


def _mirostat(logits, uniform, surprise, options: dict[str, Any]) -> tuple:
    """Keeps ids no more surprising than `surprise` bits, and moves it by what was drawn."""
    bits = -tf.nn.log_softmax(logits) / tf.math.log(tf.constant(2.0, logits.dtype))
    keep = (bits <= surprise[:, None]) | (bits <= tf.reduce_min(bits, -1, keepdims=True))
    ids = draw(tf.where(keep, logits, -float("inf")), uniform)
    drawn = tf.gather(bits, ids, batch_dims=1)
    return ids, surprise - options["mirostat_eta"] * (drawn - options["mirostat_tau"])


def _cumulative(weights):
    """Running sums of weights [B, V]."""
    size = weights.shape[-1]
    if size > _MAX_PAIRWISE_SIZE:
        return tf.cumsum(weights, axis=-1)
    # XLA's own loops over each row take three times as long, on a CPU.
    return tf.matmul(weights, tf.linalg.band_part(tf.ones((size, size), weights.dtype), 0, -1))


def _before(keys, weights):
    """For each id the `weights` [B, V] of those with a larger key, or an equal one before it."""
    size = keys.shape[-1]
    if size > _MAX_PAIRWISE_SIZE:
        order = tf.argsort(keys, direction="DESCENDING", stable=True)
        ordered = tf.gather(weights, order, batch_dims=1)
        return tf.gather(tf.cumsum(ordered, -1, exclusive=True), tf.argsort(order), batch_dims=1)
    mine, other = keys[:, :, None], keys[:, None, :]
    earlier = tf.constant([[[j < i for j in range(size)] for i in range(size)]])
    first = tf.cast((other > mine) | ((other == mine) & earlier), weights.dtype)
    return tf.linalg.matvec(first, weights)
