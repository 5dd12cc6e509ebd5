"""The contract of a sampling transform, which changes the logits before an id is drawn.

    class TopK(Transform):
        top_k: int = option(0, "sample from the k most likely tokens; 0: all", minimum=0)

        @staticmethod
        def apply(xp, logits, values, memory, recent):
            ...

A transform is a group of options, so that its flags, checks and documentation come with it. Its
functions are static: they compute with `values`, the options of all rows of a batch, and are
written once for NumPy and for compiled TensorFlow. They must not mix rows.

Shapes: B batch, V vocabulary, W window. `xp` is `numpy` or `tensorflow.experimental.numpy`.
Constants are `np.float32(...)`: a Python float may turn a float32 array into float64.
"""

from typing import Any, ClassVar

from shakespeare_gen.options import OptionGroup, Options
from shakespeare_gen.options.fields import fields_of

Array = Any
Values = dict[str, Array]


class Transform(OptionGroup):
    """Base class. The default of every option changes no logit, except that of `Temperature`."""

    TITLE = "Sampling"

    looks_back: ClassVar[bool] = False
    """Whether it depends on the tokens before; beam search uses these transforms alone.

    At every position its memory follows from the last ids, so that `start` can make it anew."""

    is_always_compiled: ClassVar[bool] = False
    """Whether it is part of the program for requests that use no other transform."""

    @property
    def is_neutral(self) -> bool:
        """Whether these options change no logit."""
        return all(getattr(self, f.name) == f.default for f in fields_of(type(self)))

    def check_with(self, options: Options) -> None:
        """Raises `UsageError` if options of other transforms contradict this one."""

    @staticmethod
    def apply(xp, logits: Array, values: Values, memory: Any, recent: Array) -> Array:
        """Returns changed logits.

        Args:
          xp: the array namespace.
          logits: float32 [B, V]; -inf where an id must not be drawn. At least one id per row
            must stay finite.
          values: every sampling option by name, float32 [B, 1]. In a row with neutral values
            the logits must stay exactly as they are.
          memory: what `start` and `update` returned.
          recent: int32 [B, W], the last ids; -1 before the first one. W is more than the largest
            `repeat_window` of the rows that look back.
        """
        raise NotImplementedError

    @staticmethod
    def start(values: Values, recent: Array, vocabulary_size: int) -> Any:
        """The memory before the first draw: a tree of NumPy arrays [B, ...]."""
        return ()

    @staticmethod
    def update(xp, values: Values, memory: Any, logits: Array, ids: Array, recent: Array) -> Any:
        """The memory after a draw, with the same shapes and types.

        Args:
          logits: float32 [B, V], those that `apply` received.
          ids: int32 [B], the ids that were drawn.
          recent: int32 [B, W], the last ids, `ids` included.
        """
        return memory
