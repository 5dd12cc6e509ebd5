"""The step of a model as a list of operations, for formats that are written operation by operation.

The steps of the models are written against an array namespace. Here it is one that records, see
`recording`: a writer walks through the recorded operations, so that it knows a few dozen operations
and no cell, and a cell of one's own can be exported too.

    traced = trace(step_function, step_weights, state, names)
    for node in traced.nodes(): ...    # each after its inputs

Knows nothing about files and formats. Shapes are those of a batch of `BATCH_SIZE` rows; the batch
is the first axis of every tensor that is no constant.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from shakespeare_gen.errors import UserError
from shakespeare_gen.exporting.recording import Namespace, Tensor
from shakespeare_gen.models import states
from shakespeare_gen.models.ensemble import EnsembleFunction

BATCH_SIZE = 3  # unlike any size of a model, which is 1 or even


@dataclasses.dataclass(frozen=True)
class Trace:
    """A recorded step.

    Attributes:
      ids: the input, int32 [B].
      state: the arrays of the state before the step, in the order of `states.flatten`.
      logits: [B, V].
      new_state: the arrays after the step.
    """

    ids: Tensor
    state: tuple[Tensor, ...]
    logits: Tensor
    new_state: tuple[Tensor, ...]

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The logits, then the state after the step."""
        return (self.logits, *self.new_state)

    def nodes(self) -> list[Tensor]:
        """Every tensor that the outputs depend on, each after its inputs."""
        return collected(self.outputs)


def collected(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Every tensor that `outputs` depend on, each after its inputs."""
    found: dict[int, Tensor] = {}
    # Without recursion, as a step may have thousands.
    stack = [(output, False) for output in reversed(outputs)]
    while stack:
        node, has_inputs = stack.pop()
        if id(node) in found:
            continue
        if has_inputs:
            found[id(node)] = node
        else:
            stack.append((node, True))
            stack += [(node, False) for node in reversed(node.inputs)]
    return list(found.values())


def num_uses(outputs: Sequence[Tensor]) -> dict[int, int]:
    """How often each tensor is used, by `id`; an output counts as a use."""
    counts: dict[int, int] = {}
    for used in (*outputs, *(i for node in collected(outputs) for i in node.inputs)):
        counts[id(used)] = counts.get(id(used), 0) + 1
    return counts


def trace(step_function: Callable, step_weights: Any, state: Any, names: Sequence[str]) -> Trace:
    """Records one step.

    Args:
      step_function: that of a model in NumPy; see `LanguageModel.step_function`.
      step_weights: its weights.
      state: a state of `BATCH_SIZE` rows.
      names: of its arrays.

    Raises:
      UserError: the step is not written against an array namespace.
    """
    ids = Tensor(np.zeros(BATCH_SIZE, np.int32), "input", name="ids")
    arrays = zip(states.flatten(state), names, strict=True)
    inputs = tuple(Tensor(array, "input", name=name) for array, name in arrays)
    weights = _named_constants(step_weights)
    logits, new_state = with_namespace(step_function, Namespace())(
        weights, ids, states.unflatten(state, inputs)
    )
    return Trace(ids, inputs, logits, tuple(states.flatten(new_state)))


def with_namespace(step_function: Any, xp: Any) -> Callable:
    """The same step, computed with another array namespace.

    Raises:
      UserError: it is not written against one.
    """
    if isinstance(step_function, EnsembleFunction):
        parts = tuple(with_namespace(part, xp) for part in step_function.parts)
        return dataclasses.replace(step_function, parts=parts, xp=xp)
    if not (dataclasses.is_dataclass(step_function) and hasattr(step_function, "xp")):
        raise UserError("expected a neural network, found a model that is computed otherwise")
    return dataclasses.replace(step_function, xp=xp)  # type: ignore


def preparation(step_function: Any, weights: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """What the weights of a step are computed from: by the names of `named`, from `weights`.

    Args:
      step_function: see `trace`.
      weights: by name, as a model has them.
    """
    inputs = {name: Tensor(array, "input", name=name) for name, array in weights.items()}
    return dict(named(_prepared(with_namespace(step_function, Namespace()), inputs)))


def _prepared(step_function: Any, inputs: Mapping[str, Tensor]) -> Any:
    if not isinstance(step_function, EnsembleFunction):
        return step_function.weights(inputs)
    return tuple(
        _prepared(part, {n.removeprefix(f"{i}/"): x for n, x in inputs.items() if _is_of(i, n)})
        for i, part in enumerate(step_function.parts)
    )


def _is_of(index: int, name: str) -> bool:
    return name.startswith(f"{index}/")


def _named_constants(weights: Any) -> Any:
    """A tree of weights as constants, named by their place in it."""
    paths = iter([path for path, _ in named(weights)])
    return states.map_arrays(lambda x: Tensor(x, "constant", name=next(paths)), weights)


def named(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays of a tree by names such as `layers/lstm_1/table`, in the order of `states`."""
    if isinstance(tree, dict | tuple | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            yield from named(value, f"{prefix}/{key}" if prefix else str(key))
        return
    yield prefix, tree
