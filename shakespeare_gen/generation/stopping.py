"""Where a text ends: stop strings, the end of a line, a speech or a document.

A `Stopper` is fed tokens as they are generated and returns those that are certainly part of the
text: the end is held back as long as it could still become a stop string. Stop strings are searched
for in the text, so they may begin and end inside a token. A character that the maximum length cuts
is left out. Knows nothing about models.

Shapes: N tokens.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from shakespeare_gen.data.tokenizers import Tokenizer

SPEECH_END = "\n\n"
MAX_TOKENS = 2**31 - 1  # of a text without a length


@dataclasses.dataclass(frozen=True)
class Ending:
    """A string before which a text ends.

    Attributes:
      after_text: the string counts only after a character that is not a line end.
      joins_prompt: the last speech of the prompt counts as part of the text.
    """

    string: str
    after_text: bool = False
    joins_prompt: bool = False


def endings(
    stop: Sequence[str] = (), until_line: bool = False, until_speaker: bool = False
) -> list[Ending]:
    """Every string that ends a text."""
    found = [Ending(string) for string in stop if string]
    if until_line:
        found.append(Ending("\n", after_text=True))
    if until_speaker:  # the blank line before the next speech
        found.append(Ending(SPEECH_END, after_text=True, joins_prompt=True))
    return found


def find_end(
    text: str, every: Sequence[Ending], has_text: bool = False, speech: str = ""
) -> int | None:
    """The length of `text` before the first completed ending; None if there is none.

    Args:
      has_text: a character other than a line end came before `text`.
      speech: the unfinished speech of the prompt, see `unfinished_speech`.
    """
    found = []
    for ending in every:
        head = speech if ending.joins_prompt and not has_text else ""
        whole = head + text
        skipped = len(whole) - len(whole.lstrip("\n")) if ending.after_text else 0
        at = whole.find(ending.string, 0 if has_text else skipped)
        if at >= 0:
            complete = at + len(ending.string) - len(head)
            found.append((complete, max(at - len(head), 0)))
    return min(found)[1] if found else None


def unfinished_speech(prompt: str) -> str:
    """The text of a prompt after its last blank line."""
    return prompt.rpartition(SPEECH_END)[2]


def cut(pieces: Sequence[str], num_chars: int) -> list[str]:
    """The pieces of the first `num_chars` characters, the last one shortened if necessary.

    A token that only begins a character counts if the character is complete within them.
    """
    kept: list[str] = []
    left = num_chars
    for piece in pieces:
        if left <= 0:
            break
        kept.append(piece[:left])
        left -= len(piece)
    return kept


@dataclasses.dataclass(frozen=True)
class Part:
    """Tokens of a text, in order.

    Attributes:
      pieces: the text of each token; the last one of a text may be cut.
      nats: float32 [N], their log-probabilities.
      ids: int32 [N].
      finish_reason: why the text ends here; None: it continues.
      end_nats: the log-probability of the end token that follows, which is no part of the text;
        None: the text continues, or ends otherwise.
    """

    pieces: list[str]
    nats: np.ndarray
    ids: np.ndarray
    finish_reason: str | None = None
    end_nats: float | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Stopper:
    """Detects the end of a text, and holds back tokens that may belong to a stop string.

    Args:
      length: maximum number of tokens; -1: no limit.
      before: the ids before the text, which may end in an unfinished speech or character.
      num_known: how many characters of the first token belong to the prompt.
    """

    def __init__(
        self,
        every: Sequence[Ending],
        tokenizer: Tokenizer,
        length: int = -1,
        before: Sequence[int] = (),
        num_known: int = 0,
    ) -> None:
        self.finish_reason: str | None = None
        self._endings, self._decoder, self._end_id = every, tokenizer.decoder(), tokenizer.end_id
        self._num_left = length if length >= 0 else None
        self._num_known = num_known
        self._pieces: list[str] = []
        self._nats, self._ids = np.zeros(0, np.float32), np.zeros(0, np.int32)
        prompt = "".join(self._decoder.feed(before))
        self._has_text, self._speech = False, unfinished_speech(prompt)
        if length == 0:
            self.finish_reason = "length"

    @property
    def num_left(self) -> int:
        """How many tokens the text can still take; 0 after its end."""
        if self.finish_reason:
            return 0
        return MAX_TOKENS if self._num_left is None else self._num_left

    def feed(self, ids: np.ndarray, nats: np.ndarray) -> Part:
        """Takes the next tokens and their log-probabilities; returns what is certain.

        After the end it returns nothing.
        """
        if self.finish_reason:
            return self._take(0)
        num_taken, reason = self._limit(ids)
        pieces = self._decoder.feed(ids[:num_taken].tolist())
        if pieces:
            pieces[0], self._num_known = pieces[0][self._num_known :], 0
        self._pieces += pieces
        self._nats = np.concatenate([self._nats, nats[:num_taken]])
        self._ids = np.concatenate([self._ids, ids[:num_taken]])
        if reason == "end" and self._pieces:  # a character that will not be completed
            self._pieces[-1] += self._decoder.flush()
        held = "".join(self._pieces)
        end = find_end(held, self._endings, self._has_text, self._speech)
        if end is not None:
            return self._finish("stop", end)
        if reason:
            part = self._finish(reason, len(held))
            is_end = reason == "end"
            return dataclasses.replace(part, end_nats=float(nats[num_taken])) if is_end else part
        partial = max((_partial(held, ending.string) for ending in self._endings), default=0)
        return self._take(self._num_before(partial))

    def end(self, reason: str) -> Part:
        """Ends the text here; tokens that are held back are dropped."""
        return self._finish(reason, 0)

    def _limit(self, ids: np.ndarray) -> tuple[int, str | None]:
        """How many of `ids` are taken, and why the text ends after them or None."""
        num_taken, reason = len(ids), None
        if self._num_left is not None:
            if num_taken >= self._num_left:
                num_taken, reason = self._num_left, "length"
            self._num_left -= num_taken
        ends = np.flatnonzero(ids[:num_taken] == self._end_id)  # none if there is no such id
        return (int(ends[0]), "end") if len(ends) else (num_taken, reason)

    def _finish(self, reason: str, num_chars: int) -> Part:
        """The tokens up to `num_chars` characters; the rest is dropped."""
        self.finish_reason = reason
        self._pieces = cut(self._pieces, num_chars)
        part = self._take(len(self._pieces))
        self._nats, self._ids = self._nats[:0], self._ids[:0]
        return part

    def _take(self, num_tokens: int) -> Part:
        pieces, self._pieces = self._pieces[:num_tokens], self._pieces[num_tokens:]
        nats, self._nats = self._nats[:num_tokens], self._nats[num_tokens:]
        ids, self._ids = self._ids[:num_tokens], self._ids[num_tokens:]
        self._has_text = self._has_text or any(piece.strip("\n") for piece in pieces)
        return Part(pieces, nats, ids, self.finish_reason)

    def _num_before(self, num_chars: int) -> int:
        """How many tokens come before the last `num_chars` characters, all of them complete."""
        num_tokens, num_after = len(self._pieces), 0
        while num_tokens and (num_after < num_chars or not self._pieces[num_tokens - 1]):
            num_tokens -= 1
            num_after += len(self._pieces[num_tokens])
        return num_tokens


def _partial(held: str, string: str) -> int:
    """How many characters at the end of `held` could begin `string`."""
    sizes = range(min(len(string) - 1, len(held)), 0, -1)
    return next((n for n in sizes if held.endswith(string[:n])), 0)
