"""The loss of a frozen model on a text, over every token.

Protocol `frozen`: each token is predicted once, in order, given all preceding tokens; the first one
follows the start id. The text is cut into `num_streams` parts that are read in parallel; every part
except the first also reads the `context_tokens` tokens before it, without scoring them. To check
that this context is long enough, the first chunk of each part is scored again with the final state
of the preceding part. If the losses differ by more than `MAX_SEAM_NATS` per token, the text is read
again with four times the context, ultimately as one part.

The check covers only one chunk after each seam: it would miss a model that remembers something for
longer than the context and uses it only after that chunk. `num_streams=1` reads the text as one
part and is exact for every model.

Protocol `windows`: the text is cut into windows that start from an empty state, comparable to
published losses over random windows.

Shapes: S streams, T time, N tokens, K candidates. Losses are in nats per token.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from absl import logging

from shakespeare_gen.data import token_store
from shakespeare_gen.data.token_store import TokenizedText
from shakespeare_gen.evaluation.rows import CHUNK_TOKENS, Reader, ReadingPlan, Rows, Sharing, losses
from shakespeare_gen.evaluation.scores import Tally
from shakespeare_gen.models import LanguageModel

# The check covers one chunk per seam: a whole part may differ by about ten times as much.
MAX_SEAM_NATS = 1e-5
# The maximum number of tokens in a batch of windows.
MAX_BATCH_TOKENS = 1 << 16
CONTEXT_GROWTH = 4


@dataclasses.dataclass(frozen=True)
class Reading:
    """The predictions of a model for each token of a text.

    Attributes:
      ids: int32 [N], the tokens.
      nats: float32 [N], the loss of each token.
      candidate_ids: int32 [N, K], the K most likely tokens, most likely first.
      candidate_nats: float32 [N, K], their negative log-probabilities.
    """

    ids: np.ndarray
    nats: np.ndarray
    candidate_ids: np.ndarray
    candidate_nats: np.ndarray

    def tally(self) -> Tally:
        """The losses and hits from which a score is computed."""
        return Tally(self.nats, _hits(self.ids, self.candidate_ids))


def nats_per_character(
    model: LanguageModel, text: TokenizedText, start_id: int, plan: ReadingPlan | None = None
) -> float:
    """Mean loss of `text` in nats per character."""
    _check_not_empty(text.ids)
    reader = Reader(model, losses)  # candidates would take ten times the memory of the losses
    [nats] = read_with(reader, model, text.ids, start_id, plan or ReadingPlan())
    return float(nats.sum(dtype=np.float64) / text.num_chars)


def by_split(
    model: LanguageModel,
    texts: Mapping[str, TokenizedText],
    start_id: int,
    plan: ReadingPlan | None = None,
) -> dict[str, float]:
    """Mean loss of each text in nats per character, and of two texts together as `both`."""
    found = {name: nats_per_character(model, text, start_id, plan) for name, text in texts.items()}
    return token_store.with_both(found, texts)


def read(
    model: LanguageModel, ids: np.ndarray, start_id: int, plan: ReadingPlan | None = None
) -> Reading:
    """Predicts every token of `ids` [N]; `start_id` is read before the first one.

    Raises:
      ValueError: `ids` is empty.
    """
    _check_not_empty(ids)
    found = read_with(Reader(model), model, ids, start_id, plan or ReadingPlan())
    return Reading(np.asarray(ids, np.int32), *found)


def _check_not_empty(ids: np.ndarray) -> None:
    if len(ids) == 0:
        raise ValueError("expected at least one token, received none")


def read_with(
    read_chunk: Callable, model: LanguageModel, ids: np.ndarray, start_id: int, plan: ReadingPlan
) -> list[np.ndarray]:
    """The results of `read_chunk` for every token, in order: arrays [N, ...].

    Args:
      read_chunk: ids and targets [S, T], state -> tensors [S, T, ...], then the state.
    """
    while True:
        inputs, targets, is_scored = _streams(ids, start_id, plan)
        rows = Rows(plan.sharing, len(inputs))
        found, state = rows.read(read_chunk, model, inputs, targets, plan)
        nats = _seam_nats(read_chunk, inputs, targets, rows, state, found[0], plan)
        if nats <= MAX_SEAM_NATS * len(ids):
            return [part[is_scored] for part in found]
        plan = dataclasses.replace(plan, context_tokens=CONTEXT_GROWTH * plan.context_tokens)
        logging.info(
            "the model remembers more than it read before a part of the text: reading again, with "
            "%s tokens before each part",
            f"{plan.context_tokens:,}",
        )


def _seam_nats(
    read_chunk, inputs, targets, rows: Rows, state, first_result, plan: ReadingPlan
) -> float:
    """The summed loss difference between the first chunk of each part and the same chunk read
    from the final state of the preceding part."""
    if len(inputs) == 1 or not first_result.size:  # one part, or a model without activations
        return 0.0
    chunk = slice(plan.context_tokens, plan.context_tokens + CHUNK_TOKENS)
    before = rows.preceding(state)
    again = read_chunk(inputs[rows.own, chunk], targets[rows.own, chunk], before)[0]
    again = rows.whole(again)
    seams = (again - first_result[:, chunk])[1:].astype(np.float64)
    return float(abs(seams.mean(tuple(range(2, seams.ndim))).sum()))


def read_windows(
    model: LanguageModel,
    ids: np.ndarray,
    window_tokens: int,
    stride: int = 0,
    sharing: Sharing | None = None,
) -> Tally:
    """Predicts every token of `ids` [N] but the first, in windows that start from an empty state.

    Windows start `stride` tokens apart; 0: `window_tokens`, so that each token is predicted once,
    the last ones in a shorter window. The last of the overlapping windows ends at the end of the
    text, and the loss of a token is the mean of its predictions.

    Raises:
      ValueError: there is nothing to predict, or the windows would not cover all tokens.
    """
    last = len(ids) - 1  # the last token has no target
    if last < 1 or stride > window_tokens:
        raise ValueError(
            f"expected at least 2 tokens and a stride of at most {window_tokens}, "
            f"received {len(ids)} and {stride}"
        )
    ids = np.asarray(ids, np.int32)
    window_tokens = min(window_tokens, last)
    stride = min(stride or window_tokens, window_tokens)
    starts = np.arange(0, last - window_tokens + 1, stride)
    if starts[-1] + window_tokens < last:
        rest = starts[-1] + stride if stride == window_tokens else last - window_tokens
        starts = np.append(starts, rest)
    times, nats, hits = np.zeros(last), np.zeros(last), np.zeros((last, 2))
    batch_size = max(min(128, MAX_BATCH_TOKENS // window_tokens), 1)
    for begin in range(0, len(starts), batch_size):
        positions = starts[begin : begin + batch_size, None] + np.arange(window_tokens)
        is_scored = positions < last
        positions = np.minimum(positions, last - 1)
        targets = ids[positions + 1]
        reader, inputs = Reader(model), ids[positions]
        (losses, candidates, _), _ = Rows(sharing, len(inputs)).read(reader, model, inputs, targets)
        places = positions[is_scored]
        np.add.at(times, places, 1)
        np.add.at(nats, places, losses[is_scored])
        np.add.at(hits, places, _hits(targets[is_scored], candidates[is_scored]))
    return Tally(nats / times, hits / times[:, None], times)


def _hits(ids: np.ndarray, candidate_ids: np.ndarray) -> np.ndarray:
    """Whether each of `ids` [N] is the first candidate and among the candidates: float [N, 2]."""
    hits = candidate_ids == ids[:, None]
    return np.stack([hits[:, 0], hits.any(1)], 1).astype(float)


def nats_by_position(
    model: LanguageModel, ids: np.ndarray, num_positions: int = 256, num_windows: int = 1024
) -> np.ndarray:
    """Mean loss [at most num_positions] of the first, second, ... token after a reset.

    Averaged over evenly spaced windows; a window reads one token before its first prediction.
    """
    num_positions = min(num_positions, len(ids) - 1)
    if num_positions < 1:
        return np.zeros(0)
    ids = np.asarray(ids, np.int32)
    spaces = len(ids) - num_positions
    starts = np.unique(np.linspace(0, spaces - 1, min(num_windows, spaces)).astype(int))
    positions = starts[:, None] + np.arange(num_positions)
    inputs, targets = ids[positions], ids[positions + 1]
    reader = Reader(model, losses)
    found, _ = Rows(None, len(inputs)).read(reader, model, inputs, targets)
    return found[0].mean(0, dtype=np.float64)


def _streams(ids, start_id: int, plan: ReadingPlan):
    """Inputs, targets and a mask of the scored tokens: arrays [S, context_tokens + length]."""
    context = plan.context_tokens
    assert context % CHUNK_TOKENS == 0
    length = max(-(-len(ids) // plan.num_streams), context, 1)
    num_streams = -(-len(ids) // length)
    padded = np.full(context + num_streams * length + 1, start_id, np.int32)
    padded[context + 1 :][: len(ids)] = ids
    first = np.arange(num_streams)[:, None] * length
    positions = first + np.arange(context + length)
    is_scored = (positions >= context + first) & (positions < context + len(ids))
    return padded[positions], padded[positions + 1], is_scored
