"""Adds a component of each kind from outside the package, as described in CONTRIBUTING.

Each is a class or module and one line that registers it, and then trains, resumes, evaluates and
generates like the built-in ones.
"""

import dataclasses
import subprocess
import sys
from typing import Any, ClassVar

import numpy as np
import pytest

import shakespeare_gen

# Before components are registered: functions get the types of their options on import.
import shakespeare_gen.evaluate
import shakespeare_gen.train
from shakespeare_gen import models
from shakespeare_gen.data.sources import SOURCES, Source
from shakespeare_gen.data.splits import Splits
from shakespeare_gen.data.tokenizers import TOKENIZERS, TableDecoder, Tokenizer
from shakespeare_gen.generation.sampling import TRANSFORMS, Transform
from shakespeare_gen.models.cells import CELLS, Cell, product
from shakespeare_gen.models.language_model import LanguageModel
from shakespeare_gen.models.specs import Spec
from shakespeare_gen.options import OptionGroup, option
from tests.conftest import REPOSITORY

TEXT = "".join(f"SPEAKER {i % 7}:\nThis is line {i}, and so on.\n\n" for i in range(80))


# A cell: weights by shape, and one step.


class LeakyCell(Cell):
    """h = h / 2 + tanh(x W + h R + b) / 2."""

    def step(self, xp, projected, state, weights):
        (h,) = state
        new = xp.tanh(projected + product(xp, h, weights["recurrent_kernel"]))
        h = 0.5 * h + 0.5 * new
        return h, (h,)


# A model family: options, a spec, and a model that implements the contract.


class BigramOptions(OptionGroup):
    TITLE = "Model"

    scale: float = option(1.0, "factor of the logits", above=0)


@dataclasses.dataclass(frozen=True)
class BigramSpec(Spec):
    """Logits that depend only on the last token."""

    family: ClassVar[str] = "bigram"
    vocabulary_size: int
    options: BigramOptions

    def weight_shapes(self):
        return {"table/embeddings": (self.vocabulary_size, self.vocabulary_size)}

    def state_shapes(self, batch_size):
        return []


@dataclasses.dataclass(frozen=True)
class BigramRead:
    """The logits of ids of any shape; serves as `read_function` and as `step_function`."""

    scale: float

    def __call__(self, weights, ids, state=()):
        import tensorflow as tf

        return self.scale * tf.gather(weights["table/embeddings"], ids), state


class BigramModel(LanguageModel):
    def __init__(self, spec: BigramSpec) -> None:
        import keras

        self.spec, size = spec, spec.vocabulary_size
        self._layer = keras.layers.Embedding(size, size, name="table")
        self._layer.build()

    @property
    def vocabulary_size(self) -> int:
        return self.spec.vocabulary_size

    @property
    def weights(self) -> dict[str, Any]:
        return {"table/embeddings": self._layer.embeddings}

    @property
    def layer(self):
        return self._layer

    def weight_arrays(self):
        import tensorflow as tf

        return {name: tf.convert_to_tensor(weight) for name, weight in self.weights.items()}

    def initial_state(self, batch_size):
        return ()

    @property
    def read_function(self):
        return BigramRead(self.spec.options.scale)

    def read(self, ids, state=(), training=False):
        return self.read_function(self.weight_arrays(), ids, state)

    @property
    def step_function(self):
        return self.read_function

    def step_weights(self):
        return self.weight_arrays()


BIGRAM = models.Family(BigramOptions, BigramSpec, lambda spec, precision, kernel: BigramModel(spec))


# A tokenizer: pairs of characters.


class PairOptions(OptionGroup):
    TITLE = "Vocabulary"


@dataclasses.dataclass(frozen=True)
class PairTokenizer(Tokenizer):
    """Pairs of characters of the training text, and all of its single characters."""

    NAME: ClassVar[str] = "pairs"
    OPTIONS: ClassVar[type[OptionGroup]] = PairOptions

    tokens: tuple[str, ...]

    @classmethod
    def from_text(cls, text, options):
        pairs = {text[i : i + 2] for i in range(0, len(text) - 1, 2)}
        return cls(tuple(sorted(pairs | set(text))))

    @classmethod
    def from_json(cls, value):
        return cls(tuple(value["pairs"]))

    def to_json(self):
        return {"pairs": list(self.tokens)}

    @property
    def size(self):
        return len(self.tokens)

    @property
    def start_id(self):
        return self.tokens.index("\n")

    def unknown_characters(self, text):
        return frozenset(text) - frozenset(self.tokens)

    def encode(self, text):
        ids, begin = [], 0
        while begin < len(text):
            piece = text[begin : begin + 2]
            piece = piece if piece in self.tokens else piece[0]
            ids.append(self.tokens.index(piece))
            begin += len(piece)
        return np.array(ids, np.int32)

    def decoder(self):
        return TableDecoder(self.tokens)


# A sampling transform: a ban.


class BanDigits(Transform):
    """Forbids the tokens of a range of ids."""

    ban_below: int = option(0, "forbid ids below this one; 0: none", minimum=0)

    @staticmethod
    def apply(xp, logits, values, memory, recent):
        ids = xp.arange(logits.shape[1])[None]
        is_banned = xp.asarray(ids, xp.float32) < values["ban_below"]
        return xp.where(is_banned, np.float32(-np.inf), logits)


# A corpus source.


def load_lines(argument: str, options) -> Splits:
    """A test text with the given number of lines."""
    text = TEXT[: int(argument)]
    return Splits(text[:-600], text[-600:-300], text[-300:])


@pytest.fixture
def registered(monkeypatch):
    """Registers the components for one test."""
    monkeypatch.setitem(CELLS, "leaky", LeakyCell())
    monkeypatch.setitem(models.FAMILIES, "bigram", BIGRAM)
    monkeypatch.setitem(TOKENIZERS, "pairs", PairTokenizer)
    monkeypatch.setitem(SOURCES, "lines", Source(load_lines, argument="NUMBER"))
    monkeypatch.setattr(shakespeare_gen.generation.sampling, "TRANSFORMS", [*TRANSFORMS, BanDigits])


OPTIONS = {
    "corpus": "lines:2700",
    "window_chars": 16,
    "batch_size": 8,
    "learning_rate": 0.02,
    "warmup_steps": 5,
    "sample_chars": 20,
}
RECURRENT = {"units": 8, "embedding_size": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({**RECURRENT, "cell": "leaky", "num_layers": 2, "residual": True}, id="cell"),
        pytest.param({"model": "bigram", "scale": 2.0}, id="family"),
        pytest.param({**RECURRENT, "tokens": "pairs"}, id="tokenizer"),
        pytest.param(
            {"model": "bigram", "tokens": "pairs", "carry_state": True}, id="family and tokenizer"
        ),
    ],
)
def test_a_component_from_outside_trains_resumes_evaluates_and_generates(
    registered, tmp_path, options
):
    run_dir = tmp_path / "run"
    shakespeare_gen.train_model(**OPTIONS, **options, run_dir=run_dir, epochs=1)
    run = shakespeare_gen.train_model(run_dir=run_dir, resume=True, epochs=2)
    losses = [row["validation_loss"] for row in run.metrics()]
    assert losses[1] < losses[0]
    whole = shakespeare_gen.train_model(
        **OPTIONS, **options, run_dir=tmp_path / "whole", epochs=2, schedule="constant"
    )
    assert len(whole.metrics()) == 2
    figures = shakespeare_gen.evaluate_run(
        run_dir, sample_chars=160, adapt=True, mix=True, protocol="windows"
    )
    frozen = figures["scores"][0]["splits"]["validation"]
    assert frozen["nats_per_character"] == pytest.approx(losses[1], abs=1e-4)
    generator = shakespeare_gen.load_generator(run_dir)
    [result] = generator.generate("SPEAKER 1:\n", length=20, seed=1)
    assert "".join(result.pieces) == result.text
    scored = generator.score(result.text, start=generator.read("SPEAKER 1:\n"))
    if len(scored) == 20:  # the text has the same tokens as the generated ones
        np.testing.assert_allclose(scored, result.log_probabilities, atol=1e-4)


@pytest.mark.slow
def test_a_transform_from_outside_is_an_option(registered, abab_run):
    """The ids of "a" and "b" are 0 and 1."""
    generator = shakespeare_gen.load_generator(abab_run.path)
    free, banned = (
        generator.generate("a", length=20, seed=1, temperature=5.0, ban_below=n)[0].text
        for n in (0, 1)
    )
    assert len(set(free)) > 1
    assert set(banned) == {"b"}


def test_an_unknown_name_lists_the_registered_ones(registered):
    with pytest.raises(shakespeare_gen.errors.UsageError, match="bigram"):
        shakespeare_gen.train_model(model="trigram")


def test_a_command_from_outside_is_a_module_and_a_line(tmp_path):
    """`count_letters` is a module anywhere on Python's path."""
    (tmp_path / "count_letters.py").write_text(
        "from shakespeare_gen.options import OptionGroup, option\n"
        "from shakespeare_gen.system import terminal\n\n\n"
        "class WordOptions(OptionGroup):\n"
        "    TITLE = 'Word'\n\n"
        "    word: str = option('abc', 'the word')\n\n\n"
        "def groups():\n"
        "    return (WordOptions,)\n\n\n"
        "def main(options):\n"
        "    terminal.write(f'{len(options[WordOptions].word)} letters\\n')\n",
        encoding="utf-8",
    )
    program = (
        "from shakespeare_gen import __main__\n"
        f"__main__.VERBS['count'] = {_verb_of('count_letters', 'Counts letters.')}\n"
        "__main__.main()\n"
    )
    (tmp_path / "mine.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "mine.py", "count", "--word=abcde"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{REPOSITORY}:{tmp_path}"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "5 letters\n"), done.stderr


def _verb_of(module: str, help_text: str) -> str:
    return f"__main__.Verb({help_text!r}, {module!r})"
