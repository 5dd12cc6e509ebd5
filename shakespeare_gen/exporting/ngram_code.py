"""The code of counted models in folders of Python: `model.py` computes n-grams from their tables.

Knows nothing about files. `models.ngram` describes the tables.

    source(subject, "import numpy as np", ["self.weights = dict(np.load(...))"])
"""

import textwrap
from collections.abc import Sequence

from shakespeare_gen.exporting.subject import Subject

_MODEL = '''\
"""The n-grams {title}, in NumPy.

    model = Model()
    logits, state = model.step(np.array([{start_id}], np.int32), model.start())    # [1, {size}]
"""

import pathlib

{imports}

RUNTIME = f"numpy {{np.__version__}}"
SIZE = {size}  # of the vocabulary
MAX_CONTEXT = {max_context}  # tokens


class Model:
    """Predicts the next token from those before it.

    The contexts that were counted form a tree: node 0 is the empty one, and the child of a node
    for the token before it is found by its key. After a node come the tokens `ngrams/ids` from
    `contexts/begins` of the node to that of the next one.
    """

    def __init__(self, folder=pathlib.Path(__file__).parent):
{loading}

    def start(self, batch_size=1):
        """The state before any token is read: the last tokens, -1 for none."""
        return (np.full((batch_size, MAX_CONTEXT), -1, np.int32),)

    def step(self, ids, state):
        """Reads one token per row: ids [B], state -> logits [B, {size}], state."""
        known = np.concatenate([state[0], ids[:, None]], 1)
        p = np.stack([self._probabilities(tokens) for tokens in known])
        return np.log(np.maximum(p, np.finfo(np.float32).tiny)), (known[:, 1:],)

    def _probabilities(self, tokens):
        """After tokens [T]: those after the longest context that was counted, the shorter ones
        with a factor."""
        w = self.weights
        p = np.full(SIZE, 1 / SIZE, np.float32)
        node, length = 0, 0
        while node >= 0:
            begin, end = w["contexts/begins"][node : node + 2]
            p *= w["contexts/backoffs"][node]
            p[w["ngrams/ids"][begin:end]] += w["ngrams/probabilities"][begin:end]
            length += 1
            node = self._child(node, tokens[-length]) if length <= MAX_CONTEXT else -1
        return p

    def _child(self, node, token):
        """The node of a context with a token before it; -1 if it was not counted."""
        keys, key = self.weights["contexts/keys"], np.int64(node) * SIZE + token
        place = np.searchsorted(keys, key)
        return place + 1 if token >= 0 and place < len(keys) and keys[place] == key else -1
'''


def source(subject: Subject, imports: str, loading: Sequence[str]) -> str:
    """The content of `model.py`.

    Args:
      imports: the lines that import NumPy and what else is needed.
      loading: the lines that assign the tables by name to `self.weights`, from `folder`.
    """
    config = subject.config("numpy", "none")
    return _MODEL.format(
        title=subject.name,
        start_id=config["start_id"],
        size=config["vocabulary_size"],
        max_context=config["state"][0]["shape"][1],
        imports=imports,
        loading=textwrap.indent("\n".join(loading), " " * 8),
    )
