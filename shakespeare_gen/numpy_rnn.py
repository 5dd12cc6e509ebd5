"""Trains a character RNN written from scratch in NumPy, and samples from it.

    python -m shakespeare_gen.numpy_rnn --corpus=book.txt
    python -m shakespeare_gen.numpy_rnn --corpus=book.txt --cell=lstm --num_steps=100000
    python -m shakespeare_gen.numpy_rnn --check_gradients

One file, to be read from top to bottom: two cells, the network and its gradients (backpropagation
through time), Adagrad, sampling, training, a check of the gradients, the command. It saves nothing;
`train` trains, saves and resumes the same networks in TensorFlow. Knows nothing about batches of
documents, dropout, or several layers.

Shapes: B batch, T time, V vocabulary size, U units, G gates of the cell (1 or 4). Weights have the
names, shapes and gate order of Keras.
"""

import time
from collections.abc import Iterator

import numpy as np

from shakespeare_gen.data import corpora
from shakespeare_gen.errors import UserError
from shakespeare_gen.models import loss_units
from shakespeare_gen.options import OptionGroup, Options, command_line, option
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.options.groups.limits import MAX_CLIP, MAX_SEED
from shakespeare_gen.system import terminal, threads

Arrays = dict[str, np.ndarray]
State = tuple[np.ndarray, ...]  # each [B, U]; the first is h, the output of the cell

MAX_GRADIENT_ERROR = 1e-6


# 1. Cells. A cell turns z = x W + h R + b, computed by the network, into its new state.


class SimpleRNN:
    """The vanilla RNN: h(t) = tanh(z(t))."""

    num_gates = 1
    num_parts = 1  # the state is h

    @staticmethod
    def forward(z: np.ndarray, state: State) -> tuple[State, State]:
        """z [B, U] and the old state -> the new state, and what `backward` needs."""
        h = np.tanh(z)
        return (h,), (h,)

    @staticmethod
    def backward(d_state: State, kept: State) -> tuple[np.ndarray, State]:
        """The gradient of the new state -> that of z, and of the old state except h.

        The old h affects the new state only through z; the network follows that path.
        """
        (d_h,), (h,) = d_state, kept
        return d_h * (1 - h * h), ()  # the derivative of tanh(z) is 1 - tanh(z)^2


class LSTM:
    """Long short-term memory: c(t) = f c(t-1) + i g and h(t) = o tanh(c(t)).

    The gates i, f, o (sigmoid) and the candidate g (tanh) are the four quarters of z, in the order
    i, f, g, o. Through c, gradients reach far back: its derivative from step to step is f alone.
    """

    num_gates = 4
    num_parts = 2  # the state is h and c

    @staticmethod
    def forward(z: np.ndarray, state: State) -> tuple[State, State]:
        """See `SimpleRNN.forward`; z is [B, 4 U]."""
        i, f, g, o = z.reshape(len(z), 4, -1).swapaxes(0, 1)  # [B, U] each
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * state[1] + i * g
        tanh_c = np.tanh(c)
        return (o * tanh_c, c), (i, f, g, o, state[1], tanh_c)

    @staticmethod
    def backward(d_state: State, kept: State) -> tuple[np.ndarray, State]:
        """See `SimpleRNN.backward`."""
        (d_h, d_c), (i, f, g, o, c_before, tanh_c) = d_state, kept
        d_c = d_c + d_h * o * (1 - tanh_c * tanh_c)  # c affects h, and the next c
        d_i, d_f, d_g, d_o = d_c * g, d_c * c_before, d_c * i, d_h * tanh_c
        # The derivative of sigmoid(z) is sigmoid(z) (1 - sigmoid(z)).
        d_z = [d_i * i * (1 - i), d_f * f * (1 - f), d_g * (1 - g * g), d_o * o * (1 - o)]
        return np.concatenate(d_z, axis=1), (d_c * f,)


CELLS: dict[str, type[SimpleRNN] | type[LSTM]] = {"simple_rnn": SimpleRNN, "lstm": LSTM}


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (np.tanh(0.5 * x) + 1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits [..., V] -> probabilities [..., V]."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))  # without overflow
    return powers / powers.sum(axis=-1, keepdims=True)


# 2. The network: a cell that reads one-hot ids, and a linear layer that predicts the next id.


class Network:
    """A cell, the weights, and the two directions of computation.

    Args:
      cell: a name in `CELLS`.
      weights: see `initial_weights`.
    """

    def __init__(self, cell: str, weights: Arrays) -> None:
        self.cell, self.weights = CELLS[cell], weights

    def initial_state(self, batch_size: int = 1) -> State:
        """The state before any id is read: zeros."""
        recurrent = self.weights["recurrent_kernel"]
        zeros = np.zeros((batch_size, len(recurrent)), recurrent.dtype)
        return (zeros,) * self.cell.num_parts

    def forward(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State, list]:
        """Reads ids [B, T]: logits [B, T, V] after each id, the last state, and the history.

        The history has, for every step, h before the step and what the cell kept.
        """
        weights, history, outputs = self.weights, [], []
        # The product of a one-hot vector and a matrix is a row of the matrix.
        projected = weights["kernel"][ids] + weights["bias"]  # [B, T, G U]
        for t in range(ids.shape[1]):
            h = state[0]
            z = projected[:, t] + h @ weights["recurrent_kernel"]  # [B, G U]
            state, kept = self.cell.forward(z, state)
            history.append((h, kept))
            outputs.append(state[0])
        hidden = np.stack(outputs, axis=1)  # [B, T, U]
        logits = hidden @ weights["logits/kernel"] + weights["logits/bias"]
        return logits, state, history

    def loss_and_gradients(
        self, ids: np.ndarray, targets: np.ndarray, state: State
    ) -> tuple[float, Arrays, State]:
        """Backpropagation through time.

        Args:
          ids: [B, T].
          targets: [B, T], the id after each id.
          state: the state before the first id. No gradient flows into it: backpropagation is
            truncated there.

        Returns:
          The loss in nats, summed over all targets; its gradient by every weight; the last state.
        """
        logits, state, history = self.forward(ids, state)
        probabilities = softmax(logits)  # [B, T, V]
        predicted = np.take_along_axis(probabilities, targets[..., None], axis=2)  # [B, T, 1]
        loss = float(-np.log(predicted).sum())
        # The gradient of the cross-entropy by the logits: probabilities minus the one-hot target.
        d_logits = probabilities
        np.put_along_axis(d_logits, targets[..., None], predicted - 1, axis=2)
        d_hidden = d_logits @ self.weights["logits/kernel"].T  # [B, T, U]
        d_z = self._backward(d_hidden, history)  # [B, T, G U]

        before = np.stack([h for h, _ in history], axis=1)  # [B, T, U]: h(t-1) for every t
        after = np.concatenate([before[:, 1:], state[0][:, None]], axis=1)  # h(t)
        d_kernel = np.zeros_like(self.weights["kernel"])
        np.add.at(d_kernel, ids, d_z)  # an id that occurs twice receives the sum
        gradients = {
            "kernel": d_kernel,
            "recurrent_kernel": rows(before).T @ rows(d_z),
            "bias": rows(d_z).sum(axis=0),
            "logits/kernel": rows(after).T @ rows(d_logits),
            "logits/bias": rows(d_logits).sum(axis=0),
        }
        return loss, gradients, state

    def _backward(self, d_hidden: np.ndarray, history: list) -> np.ndarray:
        """The gradient of every z from those of the outputs, last step first: [B, T, G U]."""
        d_state = self.initial_state(len(d_hidden))  # nothing follows the last step
        gradients = []
        for t in reversed(range(len(history))):
            # h(t) affects the loss of this step, and all later steps through the state.
            d_state = (d_state[0] + d_hidden[:, t], *d_state[1:])
            d_z, d_rest = self.cell.backward(d_state, history[t][1])
            gradients.append(d_z)
            d_state = (d_z @ self.weights["recurrent_kernel"].T, *d_rest)
        return np.stack(gradients[::-1], axis=1)


def rows(x: np.ndarray) -> np.ndarray:
    """[B, T, N] -> [B T, N]: all steps of all rows, so that one product sums over them."""
    return x.reshape(-1, x.shape[-1])


def initial_weights(
    cell: str, vocabulary_size: int, units: int, scale: float, rng: np.random.Generator
) -> Arrays:
    """Matrices of normal numbers times `scale`, and biases of zeros, in float64."""
    width = CELLS[cell].num_gates * units
    shapes = {"kernel": (vocabulary_size, width), "recurrent_kernel": (units, width)}
    shapes["logits/kernel"] = (units, vocabulary_size)
    matrices = {name: scale * rng.standard_normal(shape) for name, shape in shapes.items()}
    return {**matrices, "bias": np.zeros(width), "logits/bias": np.zeros(vocabulary_size)}


# 3. The optimizer.


class Adagrad:
    """Adagrad (Duchi et al. 2011): each weight has a learning rate of its own, which falls with the
    sum of its squared gradients so far."""

    EPSILON = 1e-8  # avoids a division by zero

    def __init__(self, weights: Arrays, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.sums = {name: np.zeros_like(weight) for name, weight in weights.items()}

    def update(self, weights: Arrays, gradients: Arrays) -> None:
        """Changes the weights in place."""
        for name, gradient in gradients.items():
            self.sums[name] += gradient * gradient
            step = gradient / np.sqrt(self.sums[name] + self.EPSILON)
            weights[name] -= self.learning_rate * step


# 4. Sampling.


def sample(
    network: Network, first_id: int, length: int, rng: np.random.Generator, temperature: float = 1.0
) -> list[int]:
    """Draws `length` ids, each from the prediction after the one before.

    Args:
      first_id: the id that is read first, after the empty state; it is not part of the result.
      temperature: divides the logits; 0: always the most probable id.
    """
    state, ids = network.initial_state(), [first_id]
    for _ in range(length):
        logits, state, _ = network.forward(np.array([ids[-1:]]), state)  # [1, 1, V]
        if temperature:
            probabilities = softmax(logits[0, 0].astype(np.float64) / temperature)
            ids.append(int(rng.choice(len(probabilities), p=probabilities)))
        else:
            ids.append(int(logits[0, 0].argmax()))
    return ids[1:]


# 5. Training.


class NumpyRNNOptions(OptionGroup):
    """The network and its training; the defaults are those of min-char-rnn (Karpathy 2015)."""

    TITLE = "Network and training"

    cell: str = option("simple_rnn", "recurrent cell", choices=CELLS)
    units: int = option(100, "units of the cell", minimum=1, maximum=16384)
    init_scale: float = option(
        0.01, "standard deviation of the initial matrices; biases start at 0", minimum=0
    )
    window_chars: int = option(
        25, "characters per step, through which gradients flow back", minimum=1
    )
    learning_rate: float = option(0.1, "learning rate of Adagrad", above=0)
    clip_value: float = option(
        5.0, "maximum absolute value of a gradient element", above=0, maximum=MAX_CLIP
    )
    num_steps: int = option(20_000, "number of updates", minimum=1)
    seed: int = option(0, "random seed of weights and samples", minimum=0, maximum=MAX_SEED)
    sample_every_steps: int = option(1000, "steps between reports and samples", minimum=1)
    sample_chars: int = option(200, "characters per sample", minimum=0)


def train(network: Network, ids: np.ndarray, options: NumpyRNNOptions) -> Iterator[float]:
    """Reads the text again and again; after each update, yields the smoothed loss.

    Every window starts from the state after the window before (truncated backpropagation), and the
    text from an empty state.

    Args:
      ids: the text, [N]; at least `window_chars + 1` ids.

    Yields:
      Nats per character: 0.999 of the value before plus 0.001 of the loss of this window. It starts
      with the loss of guessing at random.
    """
    window = options.window_chars
    optimizer = Adagrad(network.weights, options.learning_rate)
    smoothed_loss = float(np.log(len(network.weights["logits/bias"])))
    begin, state = 0, network.initial_state()
    for _ in range(options.num_steps):
        if begin + window + 1 > len(ids):
            begin, state = 0, network.initial_state()
        text = ids[None, begin : begin + window + 1]  # [1, T + 1]
        loss, gradients, state = network.loss_and_gradients(text[:, :-1], text[:, 1:], state)
        for gradient in gradients.values():  # a steep gradient would throw the weights far away
            np.clip(gradient, -options.clip_value, options.clip_value, out=gradient)
        optimizer.update(network.weights, gradients)
        smoothed_loss = 0.999 * smoothed_loss + 0.001 * loss / window
        begin += window
        yield smoothed_loss


def mean_loss(network: Network, ids: np.ndarray, chunk_chars: int = 1000) -> float:
    """The loss of a text [N] in nats per character, of all characters but the first."""
    total, state = 0.0, network.initial_state()
    for begin in range(0, len(ids) - 1, chunk_chars):
        text = ids[None, begin : begin + chunk_chars + 1]
        logits, state, _ = network.forward(text[:, :-1], state)
        predicted = np.take_along_axis(softmax(logits), text[:, 1:, None], axis=2)
        total -= float(np.log(predicted).sum())
    return total / (len(ids) - 1)


# 6. The check of the gradients.


def gradient_errors(cell: str, seed: int = 0, epsilon: float = 1e-5) -> dict[str, float]:
    """Compares the gradients of a small network with finite differences, in float64.

    Returns:
      The relative error by weight: the norm of the difference divided by the norm of the sum.
    """
    rng = np.random.default_rng(seed)
    network = Network(cell, initial_weights(cell, 7, 5, 0.5, rng))
    ids, targets = rng.integers(0, 7, (2, 3, 6))  # B 3, T 6
    state = tuple(rng.standard_normal(part.shape) for part in network.initial_state(3))
    _, gradients, _ = network.loss_and_gradients(ids, targets, state)
    errors = {}
    for name, weight in network.weights.items():
        slopes = np.zeros_like(weight)
        for index in np.ndindex(weight.shape):
            value, losses = weight[index], []
            for changed in (value + epsilon, value - epsilon):
                weight[index] = changed
                losses.append(network.loss_and_gradients(ids, targets, state)[0])
            weight[index] = value
            slopes[index] = (losses[0] - losses[1]) / (2 * epsilon)
        difference, total = slopes - gradients[name], slopes + gradients[name]
        errors[name] = float(np.linalg.norm(difference) / np.linalg.norm(total))
    return errors


# 7. The command.


class CheckOptions(OptionGroup):
    """What to do instead of training."""

    TITLE = "Check"

    check_gradients: bool = option(
        False, "compare the gradients of each cell with finite differences, and end"
    )


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return CorpusOptions, NumpyRNNOptions, CheckOptions


def main(options: Options) -> None:
    """The command: trains, and prints the smoothed loss and a sample at intervals."""
    if options[CheckOptions].check_gradients:
        _show_gradient_errors()
        return
    corpus = corpora.load(options[CorpusOptions])
    # The matrices are small: with several threads, most of the time is spent waiting for them.
    with threads.single_threaded_products():
        _train(corpus, options[NumpyRNNOptions])


def _train(corpus: corpora.Corpus, chosen: NumpyRNNOptions) -> None:
    characters = sorted(set(corpus.train))
    id_of = {character: i for i, character in enumerate(characters)}
    ids = np.array([id_of[c] for c in corpus.train])
    if len(ids) <= chosen.window_chars:
        raise UserError(
            f"window_chars: expected a training text of at least {chosen.window_chars + 1} "
            f"characters, received {len(ids)}"
        )
    rng = np.random.default_rng(chosen.seed)
    weights = initial_weights(chosen.cell, len(characters), chosen.units, chosen.init_scale, rng)
    weights = {name: weight.astype(np.float32) for name, weight in weights.items()}
    network, began = Network(chosen.cell, weights), time.perf_counter()
    for step, smoothed_loss in enumerate(train(network, ids, chosen), start=1):
        if step % chosen.sample_every_steps == 0 or step == chosen.num_steps:
            speed = step * chosen.window_chars / (time.perf_counter() - began)
            drawn = sample(network, int(ids[0]), chosen.sample_chars, rng)
            text = "".join(characters[i] for i in drawn)
            loss = loss_units.describe(smoothed_loss)
            terminal.write(f"step {step}: smoothed loss {loss}; {speed:,.0f} characters/s\n")
            terminal.write(f"----\n{text}\n----\n")
    held_out = np.array([id_of[c] for c in corpus.validation if c in id_of])
    if len(held_out) > 1:
        terminal.write(f"validation: {loss_units.describe(mean_loss(network, held_out))}\n")


def _show_gradient_errors() -> None:
    """Prints the relative error of each gradient.

    Raises:
      UserError: an error is larger than `MAX_GRADIENT_ERROR`.
    """
    for cell in CELLS:
        for name, error in gradient_errors(cell).items():
            terminal.write(f"{cell:10}  {name:16}  relative error {error:.1e}\n")
            if error > MAX_GRADIENT_ERROR:
                raise UserError(
                    f"{cell} {name}: expected a relative error of at most {MAX_GRADIENT_ERROR:g}, "
                    f"received {error:.1e}"
                )


if __name__ == "__main__":
    command_line.run(main, *groups())
