"""A text that a writer and a model write together, with undo and redo.

    session = Session(generator, settings)
    session.add_line("ROMEO:")
    for piece in session.generate(): ...     # `session.text` contains each piece already
    for piece in session.retry(): ...        # the same place, with another seed
    session.undo()

Every passage keeps the `State` of the model after it, so that only new text is read. Knows nothing
about terminals, files and command syntax. A session belongs to one thread.
"""

import dataclasses
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from shakespeare_gen import generation
from shakespeare_gen.data import texts
from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation import Generator, Request, State
from shakespeare_gen.options import OptionGroup, Options
from shakespeare_gen.options.groups import GenerationOptions, UnknownOptions
from shakespeare_gen.options.groups.limits import MAX_SEED
from shakespeare_gen.writing.scores import Score

MAX_CHANGES = 1000  # that can be undone


@dataclasses.dataclass(eq=False)
class Passage:
    """Text that was added at once.

    Attributes:
      text: grows while the model writes it.
      before: the passage that it follows; None: it begins the text.
      unknown: how the model reads it; see `Tokenizer.prepare`.
      seed: None: the writer added it.
      finish_reason: why the model stopped; see `Result`.
      state: what was read after it; None: not read yet.
    """

    text: str
    before: "Passage | None"
    unknown: str = "skip"
    seed: int | None = None
    finish_reason: str = ""
    state: State | None = None

    @property
    def is_generated(self) -> bool:
        """Whether the model wrote it."""
        return self.seed is not None


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the settings of a session."""
    return (UnknownOptions, *generation.groups())


class Session:
    """The text, the changes that led to it, and the settings of the next generation.

    Args:
      settings: options of `groups`. A seed of -1 gives each generation a new seed; with another
        one, each generation takes the next number.

    Raises:
      UsageError: the settings contradict each other, or ask for several texts.
    """

    def __init__(self, generator: Generator, settings: Options) -> None:
        self._generator = generator
        self._changes: list[Passage | None] = [None]  # the last passage after each change
        self._position = 0
        self._num_seeds = 0
        self._settings = checked(settings)

    @property
    def settings(self) -> Options:
        """The options of the next generation."""
        return self._settings

    @property
    def passages(self) -> list[Passage]:
        """The passages of the text, in order."""
        found, passage = [], self._last
        while passage:
            found.append(passage)
            passage = passage.before
        return found[::-1]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(passage.text for passage in self.passages)

    @property
    def num_undoable(self) -> int:
        """How many changes can be undone."""
        return self._position

    @property
    def num_redoable(self) -> int:
        """How many undone changes can be restored."""
        return len(self._changes) - 1 - self._position

    def set(self, **values: Any) -> None:
        """Changes settings.

        Raises:
          UsageError: a setting is unknown, out of bounds or contradicts another one.
        """
        self._settings = checked(self._settings.replaced(**values))
        if "seed" in values:
            self._num_seeds = 0

    def add(self, text: str) -> None:
        """Adds text of the writer at the end.

        Raises:
          UserError: characters are not in the vocabulary.
        """
        self._check(text)
        if text:
            self._change(Passage(text, self._last, self._unknown))

    def add_line(self, line: str) -> str:
        """Like `add`, on a line of its own; returns the added text."""
        self._check(line)
        text = self.text
        added = line if not text or text.endswith("\n") else "\n" + line
        self.add(added)
        return added

    def replace(self, text: str) -> None:
        """Replaces the whole text; the passages before the first difference are kept.

        Raises:
          UserError: characters are not in the vocabulary.
        """
        kept, num_chars = None, 0
        for passage in self.passages:
            if not text.startswith(passage.text, num_chars):
                break
            kept, num_chars = passage, num_chars + len(passage.text)
        rest = text[num_chars:]
        self._check(rest)
        last = Passage(rest, kept, self._unknown) if rest else kept
        if last is not self._last:
            self._change(last)

    def generate(self, check: Callable[[], None] = lambda: None) -> Iterator[str]:
        """Continues the text; yields it piece by piece.

        The text contains each piece before it is yielded: an exception in the caller loses nothing.

        Args:
          check: called while the text is read; an exception that it raises ends the reading.
        """
        return self._generate(self._last, check)

    def retry(self, check: Callable[[], None] = lambda: None) -> Iterator[str]:
        """Replaces what the model wrote last; see `generate`.

        If the text does not end with generated text, it is continued.
        """
        last = self._last
        return self._generate(last.before if last and last.is_generated else last, check)

    def undo(self) -> bool:
        """Goes back by one change; returns whether there was one."""
        if self._position == 0:
            return False
        self._position -= 1
        return True

    def redo(self) -> bool:
        """Restores the change that was undone last; returns whether there was one."""
        if self.num_redoable == 0:
            return False
        self._position += 1
        return True

    def score(self, text: str | None = None) -> Score:
        """How likely the model finds a text by itself; None: the text of the session.

        Raises:
          UserError: characters are not in the vocabulary.
        """
        text = self.text if text is None else text
        tokenizer = self._generator.tokenizer
        read = tokenizer.prepare(text, self._unknown, "text")
        nats = self._generator.score(read) if read else np.zeros(0, np.float32)
        return Score(tuple(tokenizer.pieces(tokenizer.encode(read))), nats)

    @property
    def _last(self) -> Passage | None:
        return self._changes[self._position]

    @property
    def _unknown(self) -> str:
        return self._settings[UnknownOptions].unknown

    def _check(self, text: str) -> None:
        """Raises an error if the model cannot read a text, or no file can hold it."""
        if texts.first_surrogate(text) is not None:
            raise UsageError(f"text: expected utf-8, received {text!r}")
        self._generator.tokenizer.prepare(text, self._unknown, "text")

    def _change(self, last: Passage | None) -> None:
        """Makes `last` the last passage; what was undone cannot be restored any more."""
        self._changes[self._position + 1 :] = [last]
        for dropped in self._changes[:-MAX_CHANGES]:
            if dropped:
                dropped.state = None  # it may be part of the text, but need not be continued
        self._changes = self._changes[-MAX_CHANGES:]
        self._position = len(self._changes) - 1

    def _generate(self, before: Passage | None, check: Callable[[], None]) -> Iterator[str]:
        seed = self._next_seed()
        request = Request.from_options(self._settings.replaced(seed=seed))
        request = dataclasses.replace(request, start=self._read(before, check))
        passage = Passage("", before, seed=seed)
        for part in self._generator.stream_parts(request):
            if part.text and not passage.text:
                self._change(passage)
            passage.text += part.text
            passage.finish_reason = part.finish_reason or ""
            if part.text:
                yield part.text

    def _next_seed(self) -> int:
        first = self._settings[GenerationOptions].seed
        if first < 0:
            return secrets.randbelow(MAX_SEED + 1)
        self._num_seeds += 1
        return (first + self._num_seeds - 1) % (MAX_SEED + 1)

    def _read(self, last: Passage | None, check: Callable[[], None]) -> State | None:
        """Reads the text up to a passage, from the nearest state that is known."""
        unread: list[Passage] = []
        while last and last.state is None:
            unread.append(last)
            last = last.before
        state = last.state if last else None
        for passage in reversed(unread):
            if state is None and passage.is_generated:
                state = self._generator.read("", check=check)  # it was generated after this state
            state = self._generator.read(passage.text, passage.unknown, state, check)
            passage.state = state
        return state


def checked(settings: Options) -> Options:
    """The settings of a session.

    Raises:
      UsageError: they contradict each other, or ask for several texts.
    """
    Request.from_options(settings.replaced(seed=0)).check_is_single()
    return settings
