"""One text of a completion: its pieces with log-probabilities and alternatives.

Knows nothing about HTTP. Shapes: N tokens.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.generation.reading import Reader, State, TokenScores
from shakespeare_gen.generation.stopping import Part
from shakespeare_gen.serving.prompts import Prompt

# JSON has no infinity; no float32 logit differs by more from another.
LOWEST_NATS = -9999.0


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of the text of a choice.

    Attributes:
      tokens: those of the text; after them the end token, if it was generated.
      nats: of each token, None where nothing predicts it.
      scores: with the most likely tokens; None if they are not asked for.
    """

    text: str
    tokens: Sequence[str]
    nats: Sequence[float | None]
    scores: TokenScores | None = None
    finish_reason: str | None = None


class Choice:
    """The text of one choice, as it is generated.

    Args:
      run: runs a function in a thread.
      state: what was read before the text.
      prompt: what comes before it.
      values: the parameters of the request.
    """

    def __init__(
        self,
        run: Callable[..., Awaitable[Any]],
        reader: Reader,
        state: State,
        prompt: Prompt,
        values: dict[str, Any],
    ) -> None:
        self._run, self._reader, self._state, self._prompt = run, reader, state, prompt
        self._k, self._echo = values["logprobs"], values["echo"]
        self._offset = 0 if self._echo else len(prompt.text)

    async def echoed(self) -> Piece:
        """The prompt; empty unless it is asked for."""
        ids = self._prompt.ids
        if not self._echo or not len(ids):
            return Piece("", [], [])
        if self._k is None:
            return Piece(self._prompt.text, [self._prompt.text], [None])
        pieces = self._reader.tokenizer.decoder().feed(ids.tolist())
        scores, _ = await self._run(self._reader.token_scores, ids, None, self._k)
        return Piece("".join(pieces), pieces, [None, *scores.nats[1:].tolist()], scores)

    async def of(self, part: Part) -> Piece:
        """The next tokens of the text; must be called for every part, in order."""
        reason = "stop" if part.finish_reason == "end" else part.finish_reason
        ids, tokens, nats, scores = part.ids, part.pieces, part.nats.tolist(), None
        if part.end_nats is not None:
            tokenizer = self._reader.tokenizer
            assert tokenizer.end_id is not None
            ids = np.append(ids, np.int32(tokenizer.end_id))
            tokens, nats = [*tokens, tokenizer.label(tokenizer.end_id)], [*nats, part.end_nats]
        if self._k and len(ids):
            scores, self._state = await self._run(
                self._reader.token_scores, ids, self._state, self._k
            )
        return Piece(part.text, tokens, nats, scores, reason)

    def joined(self, pieces: Sequence[Piece], index: int) -> dict[str, Any]:
        """The choice as JSON values, in a response or in a chunk of a stream."""
        return {
            "index": index,
            "text": "".join(piece.text for piece in pieces),
            "logprobs": None if self._k is None else self._log_probabilities(pieces),
            "finish_reason": pieces[-1].finish_reason,
        }

    def _log_probabilities(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        tokens = [token for piece in pieces for token in piece.tokens]
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(token)
        top = [entry for piece in pieces for entry in self._alternatives(piece)]
        return {
            "tokens": tokens,
            "token_logprobs": [finite(nats) for piece in pieces for nats in piece.nats],
            "top_logprobs": top if self._k else None,
            "text_offset": offsets,
        }

    def _alternatives(self, piece: Piece) -> list[dict[str, float] | None]:
        scores, tokenizer = piece.scores, self._reader.tokenizer
        if scores is None:
            return []
        return [
            None if nats is None else most_likely(tokenizer, ids, top)
            for nats, ids, top in zip(piece.nats, scores.top_ids, scores.top_nats, strict=True)
        ]


def most_likely(tokenizer: Tokenizer, ids: np.ndarray, nats: np.ndarray) -> dict[str, float]:
    """Log-probabilities [K] by the labels of tokens; of equal labels, that of the likeliest."""
    found: dict[str, float] = {}
    for token_id, value in zip(ids.tolist(), nats.tolist(), strict=True):
        found.setdefault(tokenizer.label(token_id), max(value, LOWEST_NATS))
    return found


def finite(nats: float | None) -> float | None:
    """A log-probability as JSON has it."""
    return None if nats is None else max(nats, LOWEST_NATS)
