"""Beam search: the most likely texts.

Each step keeps the `num_beams` most likely continuations of all beams together. A text that ends is
set aside. Texts are ranked by log-probability / length ** `length_penalty` (Wu et al. 2016, arXiv
1609.08144, in its simplest form): 0 favors short texts, 1 compares the mean per token. The search
ends when no continuation can become better than the texts that have ended.

Shapes: N beams, V vocabulary. Knows nothing about models: the step is an
argument.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Beam:
    """A text as ids, with the log-probability of each in nats.

    Attributes:
      total: the sum of the log-probabilities that beams are ranked by, which penalties may lower.
      text: the decoded text without its stop string.
      finish_reason: why the text ended; None if it has not ended.
    """

    ids: tuple[int, ...] = ()
    nats: tuple[float, ...] = ()
    total: float = 0.0
    text: str = ""
    finish_reason: str | None = None

    def score(self, length_penalty: float) -> float:
        """What beams are ranked by; higher is better."""
        return self.total / max(len(self.ids), 1) ** length_penalty

    def bound(self, length_penalty: float, length: int) -> float:
        """An upper bound of the scores of all continuations of up to `length` ids."""
        return self.total / length**length_penalty


def search(
    step: Callable,
    first: tuple[np.ndarray, np.ndarray],
    state: Any,
    num_beams: int,
    length: int,
    describe: Callable[[tuple[int, ...]], tuple[str, str | None]],
    length_penalty: float = 1.0,
) -> list[Beam]:
    """The best `num_beams` texts of at most `length` ids, best first; fewer if there are no more.

    Args:
      step: ids [N], state, parents [N] -> (log-probabilities, ranking log-probabilities) [N, V],
        state: takes the rows `parents` of `state` and reads one id in each.
      first: both [1, V] for the first id; -inf for ids that must not be drawn.
      describe: `ids -> (text, finish_reason)`; see `Beam`.
    """
    alive, ended, scores = [Beam()], list[Beam](), first
    for number in range(length):
        alive, parents, done = _extend(alive, *scores, num_beams, describe)
        ended = _best([*ended, *done], num_beams, length_penalty)
        if not alive or _is_settled(alive, ended, num_beams, length, length_penalty):
            break
        if number + 1 < length:
            ids = np.array([beam.ids[-1] for beam in alive], np.int32)
            scores, state = step(ids, state, np.array(parents, np.int32))
    return _best(ended + alive, num_beams, length_penalty)


def _extend(
    alive: list[Beam], log_p: np.ndarray, ranking: np.ndarray, num_beams: int, describe: Callable
) -> tuple[list[Beam], list[int], list[Beam]]:
    """The most likely continuations: those that continue, their parents, and those that end."""
    total = (np.array([beam.total for beam in alive])[:, None] + ranking).ravel()
    going: list[Beam] = []
    parents: list[int] = []
    done: list[Beam] = []
    for place in _descending(total, 2 * num_beams):
        if len(going) == num_beams or not np.isfinite(total[place]):
            break
        row, new_id = divmod(place, log_p.shape[1])
        parent = alive[row]
        ids, nats = (*parent.ids, new_id), (*parent.nats, float(log_p[row, new_id]))
        beam = Beam(ids, nats, float(total[place]), *describe(ids))
        if beam.finish_reason:
            done.append(beam)
        else:
            going.append(beam)
            parents.append(row)
    return going, parents, done


def _descending(values: np.ndarray, num_first: int) -> Iterator[int]:
    """Yields the indices of values [K] in descending order (ties: lowest index).

    The first ones, at least `num_first`, come without sorting all.
    """
    num_given = 0
    if len(values) > num_first:
        least = np.partition(values, len(values) - num_first)[len(values) - num_first]
        first = np.flatnonzero(values >= least)
        yield from first[np.argsort(-values[first], kind="stable")].tolist()
        num_given = len(first)
    yield from np.argsort(-values, kind="stable")[num_given:].tolist()


def _best(beams: list[Beam], num_beams: int, length_penalty: float) -> list[Beam]:
    """The best first; of beams with the same text only the best."""
    ordered = sorted(beams, key=lambda beam: beam.score(length_penalty), reverse=True)
    by_text: dict[str, Beam] = {}
    for beam in ordered:
        by_text.setdefault(beam.text, beam)
    return list(by_text.values())[:num_beams]


def _is_settled(
    alive: list[Beam], ended: list[Beam], num_beams: int, length: int, length_penalty: float
) -> bool:
    """Whether enough texts have ended that no continuation can become better."""
    if len(ended) < num_beams:
        return False
    worst = ended[-1].score(length_penalty)
    return max(beam.bound(length_penalty, length) for beam in alive) <= worst
