"""Where a text ends: stop strings, the end of a line, a speech or a document.

A `Stopper` is fed a text as it is made and hands on what is surely part of it:
the end is held back while it could still become a stop string. Knows no model.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from shakespeare_gen.data.corpora import END_CHARACTER
from shakespeare_gen.data.tokenizers.characters import Vocabulary

SPEECH_END = "\n\n"
Piece = tuple[str, np.ndarray, str | None]


@dataclasses.dataclass(frozen=True)
class Ending:
    """A string before which a text ends.

    `after_text`: once something but line ends came; `joins_prompt`: the prompt counts.
    """

    string: str
    finish_reason: str = "stop"
    after_text: bool = False
    joins_prompt: bool = False


def endings(
    stop: Sequence[str] = (), until_line: bool = False, until_speaker: bool = False
) -> list[Ending]:
    """Every string that ends a text; the end of a document always does."""
    found = [Ending(END_CHARACTER, "end"), *(Ending(string) for string in stop if string)]
    if until_line:
        found.append(Ending("\n", after_text=True))
    if until_speaker:  # a blank line, after which the next speech begins
        found.append(Ending(SPEECH_END, after_text=True, joins_prompt=True))
    return found


def find_end(
    text: str, every: list[Ending], has_text: bool = False, speech: str = ""
) -> tuple[int, str] | None:
    """Where `text` ends, and why: the ending that is complete first, read letter by letter.

    Args:
      has_text: something but line ends was written before `text`.
      speech: what the prompt has of a speech, see `unfinished_speech`.
    """
    found = []
    for ending in every:
        head = speech if ending.joins_prompt and not has_text else ""
        whole = head + text
        skipped = len(whole) - len(whole.lstrip("\n")) if ending.after_text else 0
        at = whole.find(ending.string, 0 if has_text else skipped)
        if at >= 0:
            complete = at + len(ending.string) - len(head)
            found.append((complete, max(at - len(head), 0), ending.finish_reason))
    return min(found)[1:] if found else None


def unfinished_speech(prompt: str) -> str:
    """What stands after the last blank line of a prompt."""
    return prompt.rpartition(SPEECH_END)[2]


class Stopper:
    """Ends one text and holds back what may turn out not to be part of it."""

    def __init__(self, every: list[Ending], vocabulary: Vocabulary, prompt: str = "") -> None:
        self.finish_reason: str | None = None
        self._endings, self._vocabulary = every, vocabulary
        self._held, self._nats = "", np.zeros(0, np.float32)
        self._has_text, self._speech = False, unfinished_speech(prompt)

    def feed(self, ids: np.ndarray, nats: np.ndarray) -> Piece:
        """Takes the next characters and their log-probabilities.

        Returns:
          The text that is now sure, its log-probabilities, and why the text
          ended or None. After the end: "".
        """
        if self.finish_reason:
            return self._take(0)
        self._held += self._vocabulary.decode(ids)
        self._nats = np.concatenate([self._nats, nats])
        if end := find_end(self._held, self._endings, self._has_text, self._speech):
            self.finish_reason = end[1]
            piece = self._take(end[0])
            self._held, self._nats = "", self._nats[:0]
            return piece
        return self._take(len(self._held) - max(map(self._partial, self._endings)))

    def flush(self) -> Piece:
        """What was held back, now that the text ends for another reason."""
        return self._take(len(self._held))

    def _take(self, size: int) -> Piece:
        text, self._held = self._held[:size], self._held[size:]
        nats, self._nats = self._nats[:size], self._nats[size:]
        self._has_text = self._has_text or bool(text.strip("\n"))
        return text, nats, self.finish_reason

    def _partial(self, ending: Ending) -> int:
        """How much of the end of what is held could begin `ending`."""
        sizes = range(min(len(ending.string) - 1, len(self._held)), 0, -1)
        return next((n for n in sizes if self._held.endswith(ending.string[:n])), 0)
