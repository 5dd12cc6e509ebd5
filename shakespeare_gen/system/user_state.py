"""Files that a command keeps for its user: in the user's state folder, readable by nobody else.

The folder is `shakespeare_gen` in `XDG_STATE_HOME`, by default `~/.local/state`. Knows nothing
about file contents.
"""

import os
import pathlib

from shakespeare_gen.errors import UserError
from shakespeare_gen.system import storage

PRIVATE = 0o600


def folder(*names: str) -> pathlib.Path:
    """The state folder, or a folder in it; creates it.

    Raises:
      UserError: it cannot be created.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    try:
        home = pathlib.Path(base) if os.path.isabs(base) else pathlib.Path.home() / ".local/state"
        path = home.joinpath("shakespeare_gen", *names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the user has no home
        raise UserError(f"state folder: cannot be created: {storage.reason(error)}") from None
    return path


def write(path: pathlib.Path, text: str) -> None:
    """Writes a file atomically that only the user may read.

    Raises:
      UserError: the file cannot be written.
    """
    storage.write(path, text.encode("utf-8", "backslashreplace"), PRIVATE)
