"""What a frozen network says of a text, over every character.

Protocol `frozen`: each character is predicted once, in order, from all characters
before it; the first one from a line end. A text is cut into `num_streams`
parts that are read side by side; every part but the first reads the
`context_chars` characters before it without being scored. Whether that gave it
the state of a single reader is checked where the parts meet: where it moves the
loss by more than `MAX_SEAM_NATS` a character, twice the context is read, in the end
the whole text in one part. Nothing is dropped.

Protocol `windows`: the text is cut into windows that each start from nothing,
as losses over random windows are published.

Shapes: S streams, T time, N characters, K candidates.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from shakespeare_gen.evaluation.scores import Tally
from shakespeare_gen.models.recurrent import initial_state

CHUNK_CHARS = 64
NUM_CANDIDATES = 5
# Seams are looked at for one chunk: ten times this is what a whole part may differ by.
MAX_SEAM_NATS = 1e-5


def _nothing() -> None:
    """The default of `poll`."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """A text and what a model said of each of its characters.

    `ids` int32 [N]; `nats` float32 [N], the loss of each; `candidate_ids` int32
    [N, K] and `candidate_nats` float32 [N, K], the K likeliest characters,
    likeliest first.
    """

    ids: np.ndarray
    nats: np.ndarray
    candidate_ids: np.ndarray
    candidate_nats: np.ndarray

    def tally(self) -> Tally:
        """What a score is made of."""
        return Tally(self.nats, _hits(self.ids, self.candidate_ids))


def nats_per_character(network, ids: np.ndarray, start_id: int = 0, **options) -> float:
    """Mean loss of `ids` [N] in nats; the options are those of `read`."""
    return float(read(network, ids, start_id, **options).nats.mean(dtype=np.float64))


def read(
    network,
    ids: np.ndarray,
    start_id: int = 0,
    num_streams: int = 64,
    context_chars: int = 128,
    poll: Callable[[], None] = _nothing,
) -> Reading:
    """Predicts every character of `ids` [N]; `start_id` is read before the first one.

    Args:
      poll: called before every chunk; what it raises ends the evaluation.

    Raises:
      ValueError: there is nothing to predict.
    """
    if len(ids) == 0:
        raise ValueError("expected at least one character, received none")
    found = read_with(_reader(network), network, ids, start_id, num_streams, context_chars, poll)
    return Reading(np.asarray(ids, np.int32), *found)


def read_with(
    read_chunk: Callable,
    network,
    ids: np.ndarray,
    start_id: int,
    num_streams: int = 64,
    context_chars: int = 128,
    poll: Callable[[], None] = _nothing,
) -> list[np.ndarray]:
    """What `read_chunk` says of every character, in order: arrays [N, ...].

    Args:
      read_chunk: ids and targets [S, T], state -> tensors [S, T, ...], then the state.
    """
    while True:
        inputs, targets, counts = _streams(ids, start_id, num_streams, context_chars)
        found, state = _read_rows(read_chunk, network, inputs, targets, poll, context_chars)
        nats = _seam_nats(read_chunk, inputs, targets, state, found[0], context_chars)
        if nats <= MAX_SEAM_NATS * len(ids):
            return [part[counts] for part in found]
        context_chars *= 2


def _seam_nats(read_chunk, inputs, targets, state, found, context_chars: int) -> float:
    """By how much the first chunks of all parts but the first differ, together, from what is
    said of them after the whole part before."""
    if len(inputs) == 1:
        return 0.0
    chunk = slice(context_chars, context_chars + CHUNK_CHARS)
    before = [tf.roll(s, 1, 0) for s in state]
    again = read_chunk(inputs[:, chunk], targets[:, chunk], before)[0].numpy()
    seams = (again - found[:, chunk])[1:].astype(np.float64)
    return float(abs(seams.mean(tuple(range(2, seams.ndim))).sum()))


def read_windows(
    network, ids: np.ndarray, window_chars: int, stride: int = 0, batch_size: int = 128
) -> Tally:
    """Predicts every character of `ids` [N] but the first, in windows that start from nothing.

    Windows start `stride` characters apart; 0: `window_chars`, so that each character is
    predicted once, the last ones in a shorter window. Where windows overlap, the last one ends
    with the text; with stride 1 the mean is that of every window there is.

    Raises:
      ValueError: there is nothing to predict, or windows leave characters out.
    """
    stride = stride or window_chars
    last = len(ids) - 1  # nothing follows it
    if last < 1 or stride > window_chars:
        raise ValueError(
            f"expected at least 2 characters and a stride of at most {window_chars}, "
            f"received {len(ids)} and {stride}"
        )
    ids = np.asarray(ids, np.int32)
    starts = np.arange(0, max(last - window_chars, 0) + 1, stride)
    if starts[-1] + window_chars < last:
        rest = starts[-1] + stride if stride == window_chars else last - window_chars
        starts = np.append(starts, rest)
    times, nats, hits = np.zeros(last), np.zeros(last), np.zeros((last, 2))
    for begin in range(0, len(starts), batch_size):
        positions = starts[begin : begin + batch_size, None] + np.arange(window_chars)
        counts = positions < last
        positions = np.minimum(positions, last - 1)
        targets = ids[positions + 1]
        (losses, candidates, _), _ = _read_rows(_reader(network), network, ids[positions], targets)
        places = positions[counts]
        np.add.at(times, places, 1)
        np.add.at(nats, places, losses[counts])
        np.add.at(hits, places, _hits(targets[counts], candidates[counts]))
    return Tally(nats / times, hits / times[:, None], times)


def _hits(ids: np.ndarray, candidate_ids: np.ndarray) -> np.ndarray:
    """Whether each of `ids` [N] is the likeliest and among the likeliest: float [N, 2]."""
    hits = candidate_ids == ids[:, None]
    return np.stack([hits[:, 0], hits.any(1)], 1).astype(float)


def nats_by_position(
    network,
    ids: np.ndarray,
    num_positions: int = 256,
    num_windows: int = 1024,
) -> np.ndarray:
    """Mean loss [at most num_positions] of the first, second, … character after a reset.

    Over windows evenly spaced in the text; before its first character a window has read one.
    """
    num_positions = min(num_positions, len(ids) - 1)
    if num_positions < 1:
        return np.zeros(0)
    ids = np.asarray(ids, np.int32)
    spaces = len(ids) - num_positions
    starts = np.unique(np.linspace(0, spaces - 1, min(num_windows, spaces)).astype(int))
    positions = starts[:, None] + np.arange(num_positions)
    found, _ = _read_rows(_reader(network), network, ids[positions], ids[positions + 1])
    return found[0].mean(0, dtype=np.float64)


def _streams(ids, start_id: int, num_streams: int, context_chars: int):
    """Arrays [S, context_chars + length]; the last one tells which characters count."""
    assert context_chars % CHUNK_CHARS == 0
    length = max(-(-len(ids) // num_streams), context_chars, 1)
    num_streams = -(-len(ids) // length)
    padded = np.full(context_chars + num_streams * length + 1, start_id, np.int32)
    padded[context_chars + 1 :][: len(ids)] = ids
    first = np.arange(num_streams)[:, None] * length
    positions = first + np.arange(context_chars + length)
    counts = (positions >= context_chars + first) & (positions < context_chars + len(ids))
    return padded[positions], padded[positions + 1], counts


def _read_rows(
    read_chunk, network, inputs, targets, poll=_nothing, reset_first_row_at: int = -1
) -> tuple[list, list]:
    """Reads rows of ids [S, T] side by side, from nothing -> arrays [S, T, ...], last state."""
    state, found = initial_state(network, len(inputs)), []
    for begin in range(0, inputs.shape[1], CHUNK_CHARS):
        if begin == reset_first_row_at:  # before it, row 0 read padding only
            state = [tf.concat([tf.zeros_like(s[:1]), s[1:]], 0) for s in state]
        poll()
        chunk = slice(begin, begin + CHUNK_CHARS)
        *said, state = read_chunk(inputs[:, chunk], targets[:, chunk], state)
        found.append([part.numpy() for part in said])
    return [np.concatenate(parts, 1) for parts in zip(*found, strict=True)], state


def _reader(network):
    """A compiled chunk: ids, targets [S, T], state -> nats, candidates, their nats, state."""
    # One trace a network: kept on it, so that an evaluation every epoch costs no tracing.
    if not hasattr(network, "chunk_reader"):

        @tf.function(reduce_retracing=True)
        def read_chunk(ids, targets, state):
            logits, *state = network([ids, *state], training=False)
            return *judge(logits, targets), state

        network.chunk_reader = read_chunk
    return network.chunk_reader


def judge(logits, targets) -> tuple:
    """Logits [..., V], targets [...] -> nats [...], candidates' ids and nats [..., K]."""
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    best, candidate_ids = tf.math.top_k(logits, min(NUM_CANDIDATES, logits.shape[-1]))
    # The target's logit and its loss give the sum over all characters without another pass.
    target_logit = tf.gather(logits, targets, axis=-1, batch_dims=len(targets.shape))
    return nats, candidate_ids, (nats + target_logit)[..., None] - best
