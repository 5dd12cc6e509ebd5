"""The likeliest texts, searched side by side.

Each step keeps the `num_beams` likeliest continuations of all beams together.
A text that ends is set aside; texts are compared by their log-probability over
length ** `length_penalty` (Wu et al. 2016, arXiv 1609.08144, in its simplest
form): 0 favours short texts, 1 compares the mean of a character.
Shapes: N beams, V vocabulary. Knows no network: it is given a step.
"""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Beam:
    """A text as ids, with the log-probability of each in nats."""

    ids: tuple[int, ...]
    nats: tuple[float, ...]
    finish_reason: str = "length"

    def score(self, length_penalty: float) -> float:
        """What beams are compared by; higher is better."""
        return sum(self.nats) / max(len(self.ids), 1) ** length_penalty


def search(
    step: Callable,
    log_p: np.ndarray,
    state: list,
    num_beams: int,
    length: int,
    find_end: Callable[[tuple[int, ...]], tuple[int, str] | None],
    length_penalty: float = 1.0,
) -> list[Beam]:
    """The best `num_beams` texts of at most `length` ids, best first.

    Args:
      step: ids [N], state, parents [N] -> log-probabilities [N, V], state: takes
        rows `parents` of `state` and reads one id in each.
      log_p: [1, V] of the first id; -inf where an id must not come.
      find_end: where a text ends and why, or None; what stands after is dropped.
    """
    alive, ended = [Beam((), ())], list[Beam]()
    for number in range(length):
        alive, parents, done = _extend(alive, log_p, num_beams, find_end)
        ended += done
        if not alive or _is_settled(alive, ended, num_beams, length_penalty):
            break
        if number + 1 < length:
            ids = np.array([beam.ids[-1] for beam in alive], np.int32)
            log_p, state = step(ids, state, np.array(parents, np.int32))
    every = sorted(ended + alive, key=lambda b: b.score(length_penalty), reverse=True)
    return every[:num_beams]


def _extend(alive: list[Beam], log_p: np.ndarray, num_beams: int, find_end) -> tuple:
    """The likeliest continuations: those that go on, the rows they come from, those that end."""
    sums = np.array([sum(beam.nats) for beam in alive])
    total = (sums[:, None] + log_p).ravel()
    going: list[Beam] = []
    parents: list[int] = []
    done: list[Beam] = []
    for place in np.argsort(-total, kind="stable"):
        if len(going) == num_beams or not np.isfinite(total[place]):
            break
        row, new_id = divmod(int(place), log_p.shape[1])
        parent = alive[row]
        beam = Beam((*parent.ids, new_id), (*parent.nats, float(log_p[row, new_id])))
        if end := find_end(beam.ids):
            done.append(dataclasses.replace(beam, finish_reason=end[1]))
            if len(done) >= num_beams:
                break
        else:
            going.append(beam)
            parents.append(row)
    return going, parents, done


def _is_settled(
    alive: list[Beam], ended: list[Beam], num_beams: int, length_penalty: float
) -> bool:
    """Whether enough texts have ended that are better than what still goes on."""
    if len(ended) < num_beams:
        return False
    worst = sorted((b.score(length_penalty) for b in ended), reverse=True)[num_beams - 1]
    return max(b.score(length_penalty) for b in alive) <= worst
