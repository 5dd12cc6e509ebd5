"""The likeliest texts, searched side by side.

Each step keeps the `num_beams` likeliest continuations of all beams together.
A text that ends is set aside; texts are compared by their log-probability over
length ** `length_penalty` (Wu et al. 2016, arXiv 1609.08144, in its simplest
form): 0 favours short texts, 1 compares the mean of a character. The search ends
when nothing that goes on can become better than what has ended.
Shapes: N beams, V vocabulary. Knows no network: it is given a step.
"""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Beam:
    """A text as ids, with the log-probability of each in nats.

    `total` is the sum of what beams are compared by, which penalties may lower; the
    first `size` ids are the text, those after it ended it.
    """

    ids: tuple[int, ...] = ()
    nats: tuple[float, ...] = ()
    total: float = 0.0
    size: int = 0
    finish_reason: str = "length"

    def score(self, length_penalty: float) -> float:
        """What beams are compared by; higher is better."""
        return self.total / max(len(self.ids), 1) ** length_penalty

    def bound(self, length_penalty: float, length: int) -> float:
        """No continuation of up to `length` ids has a higher score."""
        return self.total / length**length_penalty


def search(
    step: Callable,
    first: tuple[np.ndarray, np.ndarray],
    state: list,
    num_beams: int,
    length: int,
    find_end: Callable[[tuple[int, ...]], tuple[int, str] | None],
    length_penalty: float = 1.0,
) -> list[Beam]:
    """The best `num_beams` texts of at most `length` ids, best first; fewer where there are no
    more.

    Args:
      step: ids [N], state, parents [N] -> (log-probabilities, what beams are compared
        by) [N, V], state: takes rows `parents` of `state` and reads one id in each.
      first: the two [1, V] of the first id; -inf where an id must not come.
      find_end: where a text ends and why, or None; what stands after is dropped.
    """
    alive, ended, scores = [Beam()], list[Beam](), first
    for number in range(length):
        alive, parents, done = _extend(alive, *scores, num_beams, find_end)
        ended = _best([*ended, *done], num_beams, length_penalty)
        if not alive or _is_settled(alive, ended, num_beams, length, length_penalty):
            break
        if number + 1 < length:
            ids = np.array([beam.ids[-1] for beam in alive], np.int32)
            scores, state = step(ids, state, np.array(parents, np.int32))
    return _best(ended + alive, num_beams, length_penalty)


def _extend(
    alive: list[Beam], log_p: np.ndarray, compared: np.ndarray, num_beams: int, find_end
) -> tuple:
    """The likeliest continuations: those that go on, the rows they come from, those that end."""
    total = (np.array([beam.total for beam in alive])[:, None] + compared).ravel()
    going: list[Beam] = []
    parents: list[int] = []
    done: list[Beam] = []
    for place in np.argsort(-total, kind="stable"):
        if len(going) == num_beams or not np.isfinite(total[place]):
            break
        row, new_id = divmod(int(place), log_p.shape[1])
        parent = alive[row]
        ids, nats = (*parent.ids, new_id), (*parent.nats, float(log_p[row, new_id]))
        if end := find_end(ids):
            done.append(Beam(ids, nats, float(total[place]), *end))
        else:
            going.append(Beam(ids, nats, float(total[place]), len(ids)))
            parents.append(row)
    return going, parents, done


def _best(beams: list[Beam], num_beams: int, length_penalty: float) -> list[Beam]:
    """The best first; of beams with the same text, which ended in other ways, the best alone."""
    ordered = sorted(beams, key=lambda b: b.score(length_penalty), reverse=True)
    by_text: dict[tuple[int, ...], Beam] = {}
    for beam in ordered:
        by_text.setdefault(beam.ids[: beam.size], beam)
    return list(by_text.values())[:num_beams]


def _is_settled(
    alive: list[Beam], ended: list[Beam], num_beams: int, length: int, length_penalty: float
) -> bool:
    """Whether enough texts have ended that are better than all that still goes on can become."""
    if len(ended) < num_beams:
        return False
    worst = ended[-1].score(length_penalty)
    return max(b.bound(length_penalty, length) for b in alive) <= worst
