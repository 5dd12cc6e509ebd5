"""Replicas of a model that share each batch, on the devices of this process and of other workers.

Every replica computes the gradients of its rows; one collective of TensorFlow adds them up. The
variables are outside the scope of the strategy, so that Keras trains as with one device, and clips
the mean of all gradients instead of that of each replica.

    replicas = Replicas(tf.distribute.MirroredStrategy(), batch_size=64)
    total = replicas.sum(lambda replica: gradients_of(replicas.rows(replica)))
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from shakespeare_gen.training.workers.team import Team


class Replicas:
    """The replicas of this process among all of them.

    Args:
      strategy: joins the replicas.
      batch_size: windows of a whole batch, at least one for each replica.
      team: the workers whose replicas they are; None: this process alone.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy, batch_size: int, team: "Team | None" = None
    ) -> None:
        self._strategy, self.batch_size, self._team = strategy, batch_size, team
        self.num = strategy.num_replicas_in_sync
        self.num_here = self.num // (team.cluster.size if team else 1)
        self._first = self.num_here * (team.cluster.index if team else 0)

    @property
    def rows_here(self) -> slice:
        """The rows of a batch that this process reads."""
        return slice(self._begin(self._first), self._begin(self._first + self.num_here))

    def rows(self, replica: int) -> slice:
        """The rows of a replica of this process, among those that the process reads."""
        begin, end = (self._begin(self._first + replica + i) for i in (0, 1))
        return slice(begin - self.rows_here.start, end - self.rows_here.start)

    def share(self, replica: int) -> float:
        """The rows of a replica of this process, as a share of a whole batch."""
        rows = self.rows(replica)
        return (rows.stop - rows.start) / self.batch_size

    def requests(self, replica: int) -> tf.Tensor:
        """What a replica of this process adds to the sum of the requests of all workers."""
        requests = tf.identity(self._team.requests) if self._team else tf.zeros([0])
        return requests if replica == 0 else tf.zeros_like(requests)

    def gathered(self, here: np.ndarray) -> np.ndarray:
        """The rows of a whole batch, from those of this process; all workers call it."""
        if self._team is None:
            return here
        return self._team.gathered(here, self.rows_here, self.batch_size)

    def sum(self, compute: Callable[[int], Any]) -> tf.Tensor:
        """The sum of a tensor over all replicas.

        Args:
          compute: the number of a replica of this process -> its tensor, of equal shape in all.
        """

        def computed():
            context = tf.distribute.get_replica_context()
            number = int(tf.get_static_value(context.replica_id_in_sync_group))
            found = tf.identity(compute(number - self._first))  # on the device of the replica
            return context.all_reduce(tf.distribute.ReduceOp.SUM, found)

        every = self._strategy.run(computed)
        return self._strategy.experimental_local_results(every)[0]

    def _begin(self, number: int) -> int:
        return number * self.batch_size // self.num


class WholeRows:
    """A variable whose rows are spread over replicas, as one array of the whole batch.

    Looks like a variable to `runs.checkpoints`. All workers read it together.
    """

    def __init__(self, parts: Sequence[Any], replicas: Replicas) -> None:
        self._parts, self._replicas = parts, replicas

    @property
    def dtype(self) -> Any:
        """The type of the parts."""
        return self._parts[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all rows together."""
        return (self._replicas.batch_size, *self._parts[0].shape[1:])

    def assign(self, value: np.ndarray) -> None:
        """Gives each replica of this process its rows."""
        here = np.asarray(value)[self._replicas.rows_here]
        for replica, part in enumerate(self._parts):
            part.assign(here[self._replicas.rows(replica)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self._replicas.gathered(np.concatenate([np.asarray(p) for p in self._parts]))
        return whole.astype(dtype) if dtype else whole


def replicas_of_devices(batch_size: int) -> Replicas | None:
    """A replica on each device of this process, or None if there is only one device."""
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    if len(devices) < 2:
        return None
    return Replicas(tf.distribute.MirroredStrategy(devices), batch_size)
