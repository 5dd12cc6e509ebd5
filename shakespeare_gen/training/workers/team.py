"""The workers while they train: what one of them knows, and all of them need.

Every method that communicates must be called by all workers, in the same order. All data travels
in float32, which every device and every collective of TensorFlow supports; it arrives unchanged.

    meeting.exchange({})                       # everybody has imported TensorFlow
    team = Team(cluster, connect(cluster))
    weights = team.from_chief(lambda: encoded(weights))
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from shakespeare_gen import errors
from shakespeare_gen.errors import UserError, WorkerLostError
from shakespeare_gen.system.signals import SIGNALS
from shakespeare_gen.training.workers.cluster import Cluster
from shakespeare_gen.training.workers.replicas import Replicas

# What the collectives raise when a worker is lost.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)
_UNHEALTHY = re.compile(r"/task:([0-9]+)")


class Requests(NamedTuple):
    """What workers ask of all others, after the same step.

    Attributes:
      signal: the number of a signal that a worker has received; 0: none.
      save: whether the chief wants a checkpoint.
    """

    signal: int
    save: bool


def connect(cluster: Cluster) -> tf.distribute.Strategy:
    """Joins the processes; called once, before TensorFlow is used, when all workers are ready.

    Raises:
      UserError: this process has already used TensorFlow, or cannot reach the others.
    """
    tf.get_logger().setLevel("ERROR")  # it reports every collective
    strategy = tf.distribute.MultiWorkerMirroredStrategy
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        rpc_layer="grpc",
    )
    try:
        return strategy(cluster_resolver=resolver)
    except RuntimeError:
        raise UserError(
            "workers: expected a process that has not used TensorFlow, found one that has; start "
            "training as a command, or in a new process"
        ) from None
    except tf.errors.OpError as error:
        reason = str(error.message).splitlines()[0]
        raise UserError(f"the workers cannot reach each other: {reason}") from None


class Team:
    """The workers of a training run, and this one among them.

    Attributes:
      requests: what this worker asks for; added up with the gradients of the next step.
    """

    def __init__(self, cluster: Cluster, strategy: tf.distribute.Strategy) -> None:
        self.cluster, self._strategy = cluster, strategy
        self.requests = tf.Variable(tf.zeros([len(SIGNALS) + 1]), trainable=False)
        every = Replicas(strategy, strategy.num_replicas_in_sync, self)

        @tf.function(autograph=False, reduce_retracing=True)
        def total(values):
            return every.sum(lambda replica: values if replica == 0 else tf.zeros_like(values))

        self._sum = total

    @property
    def is_chief(self) -> bool:
        """Whether this worker alone reads and writes the run folder."""
        return self.cluster.is_chief

    def replicas(self, batch_size: int) -> Replicas:
        """The replicas of all workers, for batches of `batch_size` windows."""
        return Replicas(self._strategy, batch_size, self)

    def wait(self) -> None:
        """Returns when all workers have called it."""
        self.sum(np.zeros(1, np.float32))

    # Data

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum of float32 values over all workers."""
        if not values.size:  # TensorFlow's ring divides by the size
            return np.zeros(values.shape, np.float32)
        return self._sum(tf.constant(values, tf.float32)).numpy()

    def from_chief(self, make: Callable[[], bytes]) -> bytes:
        """The result of `make`, which only the chief calls.

        Raises:
          UserError: that of `make`, on all workers.
        """
        failure: UserError | None = None
        data = b""
        if self.is_chief:
            try:
                data = make()
            except UserError as error:
                failure = error
                data = json.dumps([type(error).__name__, str(error)]).encode()
        # In two parts, because float32 counts to 2**24 only.
        sizes = [failure is not None, *divmod(len(data), 1 << 16)]
        has_failed, high, low = self.sum(np.array(sizes, np.float32)).astype(int)
        size = (high << 16) + low
        padded = np.zeros(size + size % 2, np.uint8)
        padded[: len(data)] = np.frombuffer(data, np.uint8)
        found = self.sum(padded.view(np.uint16)).astype(np.uint16).view(np.uint8)[:size].tobytes()
        if failure is not None:
            raise failure
        if has_failed:
            name, message = json.loads(found)
            raise getattr(errors, name, UserError)(f"{self.cluster.name(0)}: {message}")
        return found

    def check_equal(self, value: bytes, what: str) -> None:
        """Checks that all workers have the value of the chief; `what` is its name for messages.

        Raises:
          UserError: one of them has another, in all workers.
        """
        differs = np.zeros(self.size, np.float32)
        differs[self.index] = value != self.from_chief(lambda: value)
        if others := [self.cluster.name(int(i)) for i in np.flatnonzero(self.sum(differs))]:
            raise UserError(
                f"{', '.join(others)}: expected the {what} of {self.cluster.name(0)}, found another"
            )

    # Rows of batches; see `evaluation.rows.Sharing`

    @property
    def size(self) -> int:
        """The number of workers."""
        return self.cluster.size

    @property
    def index(self) -> int:
        """The position of this worker."""
        return self.cluster.index

    def rows(self, num_rows: int) -> slice:
        """The rows of this worker."""
        return slice(*((self.index + i) * num_rows // self.size for i in (0, 1)))

    def gathered(self, part: np.ndarray, rows: slice, num_rows: int) -> np.ndarray:
        """All rows [num_rows, ...], of which this worker has `rows`."""
        whole = np.zeros((num_rows, *part.shape[1:]), part.dtype)
        whole[rows] = part
        if part.dtype == np.float32:
            return self.sum(whole)
        halves = np.ascontiguousarray(whole).reshape(-1).view(np.uint16)
        return self.sum(halves).astype(np.uint16).view(part.dtype).reshape(whole.shape)

    # Decisions

    def ask(self, signal_number: int | None, save: bool) -> None:
        """What this worker asks for; all workers receive it after the next step."""
        self.requests.assign([*(float(signal_number == n) for n in SIGNALS), float(save)])

    @staticmethod
    def received(total: np.ndarray) -> Requests:
        """What the workers ask for, from the sum of their requests."""
        *signals, save = np.asarray(total)
        numbers = [number for number, count in zip(SIGNALS, signals, strict=True) if count]
        return Requests(max(numbers, default=0), bool(save))

    @contextlib.contextmanager
    def naming_the_lost(self) -> Iterator[None]:
        """A context in which the loss of a worker is a `WorkerLostError`."""
        try:
            yield
        except LOST as error:
            raise WorkerLostError(self._loss(str(error.message))) from None

    def _loss(self, message: str) -> str:
        found = {int(number) for number in _UNHEALTHY.findall(message)}
        others = set(range(self.cluster.size)) - {self.cluster.index}
        lost = sorted(found & others) if len(others) > 1 else sorted(others)
        names = ", ".join(map(self.cluster.name, lost)) or "a worker"
        return f"{names} was lost: it has ended, was stopped, or cannot be reached"
