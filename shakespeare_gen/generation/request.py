"""A generation request and its result. Knows nothing about models."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation import sampling, stopping
from shakespeare_gen.generation.sampling import Sampling
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import GenerationOptions, UnknownOptions


@dataclasses.dataclass(frozen=True)
class Request:
    """A prompt, or a state to continue from, and how the text is generated.

    Attributes:
      unknown: what to do with characters of the prompt outside the vocabulary; see
        `Tokenizer.prepare`.
      start: the `State` that the prompt continues; None: nothing was read before it.
      logit_bias: (id, value): added to the logit of a token before every transform.

    Raises:
      UsageError: an option is out of bounds.
    """

    prompt: str
    generation: GenerationOptions
    sampling: Sampling
    unknown: str = "error"
    start: Any = None
    logit_bias: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        UnknownOptions(unknown=self.unknown)
        if self.generation.seed < 0:
            raise UsageError(f"seed: expected at least 0, received {self.generation.seed}")
        if self.generation.num_samples > self.generation.num_beams > 1:
            raise UsageError(
                f"num_samples: expected at most `num_beams={self.generation.num_beams}`, "
                f"received {self.generation.num_samples}"
            )

    @classmethod
    def of(
        cls, prompt: str = "", *, unknown: str = "error", start: Any = None, **options: Any
    ) -> "Request":
        """A request with options by name: those of `GenerationOptions` and of `sampling`.

        `seed` is 0 by default.

        Raises:
          UsageError: an option is unknown, out of bounds or contradicts another one.
        """
        parsed = Options.parse((*sampling.groups(), GenerationOptions), {"seed": 0, **options})
        return cls.from_options(parsed, prompt, unknown, start)

    @classmethod
    def from_options(
        cls, options: Options, prompt: str = "", unknown: str = "error", start: Any = None
    ) -> "Request":
        """A request with the options of a command."""
        chosen = Sampling(options.only(sampling.groups()))
        return cls(prompt, options[GenerationOptions], chosen, unknown, start)

    def check_is_finite(self) -> None:
        """Raises `UsageError` if the text has no end."""
        if self.generation.length < 0:
            raise UsageError(
                f"length: expected at least 0, received {self.generation.length}; "
                "a text without end can only be streamed"
            )

    def check_is_sampled(self) -> None:
        """Raises `UsageError` unless the texts have an end and are sampled one by one."""
        self.check_is_finite()
        if self.generation.num_beams > 1:
            raise UsageError(f"num_beams: expected 1, received {self.generation.num_beams}")

    def check_is_single(self) -> None:
        """Raises `UsageError` unless the request is for one sampled text."""
        for name in ("num_samples", "num_beams"):
            value = getattr(self.generation, name)
            if value != 1:
                raise UsageError(
                    f"{name}: expected 1, because a stream is one text, received {value}"
                )

    @property
    def num_tokens(self) -> int:
        """Tokens to compute at most, over all samples and beams; 0 for a text without end."""
        options = self.generation
        return max(options.length, 0) * max(options.num_samples, options.num_beams)

    @property
    def endings(self) -> list[stopping.Ending]:
        """The strings that end the text."""
        options = self.generation
        return stopping.endings(options.stop, options.until_line, options.until_speaker)


@dataclasses.dataclass(frozen=True)
class Result:
    """One generated text, without its prompt.

    Attributes:
      finish_reason: `length`, `stop` (a stop string), `end` (the end of a document) or
        `interrupted`.
      log_probabilities: of each token in nats, float32 [N], in the model, before any transform.
      pieces: the text that each of these tokens contributes; joined, they are `text`.
    """

    text: str
    finish_reason: str
    log_probabilities: np.ndarray
    pieces: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values; a log-probability that is not finite is null."""
        nats = float(self.log_probabilities.sum())
        return {
            "text": self.text,
            "finish_reason": self.finish_reason,
            "num_tokens": len(self.pieces),
            "log_probability_nats": nats if math.isfinite(nats) else None,
        }

    @classmethod
    def of_parts(cls, parts: Sequence[stopping.Part], finish_reason: str) -> "Result":
        """A text from the parts in which it was generated."""
        pieces = tuple(itertools.chain.from_iterable(part.pieces for part in parts))
        nats = np.concatenate([np.zeros(0, np.float32), *(part.nats for part in parts)])
        return cls("".join(pieces), finish_reason, nats, pieces)
