"""Keeps the text of a session on disk until it is saved, so that nothing ends with the process.

    draft = Draft()
    draft.keep(text)
    draft.remove()         # the text was saved

Each session has a file of its own in the folder `drafts` of the user's state folder.
"""

import contextlib
import os
import pathlib
import time

from shakespeare_gen.errors import UserError
from shakespeare_gen.system import storage, user_state

MAX_DRAFTS = 10
SECONDS_BETWEEN = 1.0


class Draft:
    """The draft of one session.

    Attributes:
      path: the file; None: there is none.
    """

    def __init__(self) -> None:
        self.path: pathlib.Path | None = None
        self._kept = ""
        self._written_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether a text that grows should be written again."""
        return time.monotonic() > self._written_at + SECONDS_BETWEEN

    def keep(self, text: str) -> None:
        """Writes the text, if it has changed.

        Raises:
          UserError: the file cannot be written.
        """
        if text == self._kept:
            return
        if self.path is None:
            name = f"{time.strftime('%Y-%m-%d-%H%M%S')}-{os.getpid()}.txt"
            self.path = user_state.folder("drafts") / name
        user_state.write(self.path, text)
        self._kept, self._written_at = text, time.monotonic()

    def remove(self) -> None:
        """Deletes the file, if there is one."""
        if self.path:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
            self.path = None


def newest() -> pathlib.Path | None:
    """The newest draft of earlier sessions; deletes all but the newest `MAX_DRAFTS`."""
    try:
        folder = user_state.folder("drafts")
        names = [name for name in storage.listed(folder) if name.endswith(".txt")]
    except UserError:
        return None
    for name in names[:-MAX_DRAFTS]:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    return folder / names[-1] if names else None
