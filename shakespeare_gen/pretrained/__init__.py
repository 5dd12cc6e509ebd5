"""Run folders that ship with the package: trained models, ready to generate from.

    path("pretrained:tiny-shakespeare")    # .../shakespeare_gen/pretrained/tiny-shakespeare

They contain weights, often in bfloat16, but not the state that resuming needs, and are read only.
Knows nothing about what is in a run folder.
"""

import os
import pathlib

from shakespeare_gen.errors import UserError

PREFIX = "pretrained:"
DEFAULT = f"{PREFIX}tiny-shakespeare"
_FOLDER = pathlib.Path(__file__).parent


def is_name(path: str | os.PathLike[str]) -> bool:
    """Whether `path` names a pretrained model instead of a folder."""
    return os.fspath(path).startswith(PREFIX)


def names() -> list[str]:
    """All pretrained models, with the prefix."""
    folders = (place for place in _FOLDER.iterdir() if (place / "config.json").is_file())
    return sorted(f"{PREFIX}{place.name}" for place in folders)


def path(name: str) -> pathlib.Path:
    """The folder of a pretrained model.

    Raises:
      UserError: there is no such model.
    """
    if name not in names():
        raise UserError(f"run_dir: expected one of {', '.join(names())}, received {name}")
    return _FOLDER / name.removeprefix(PREFIX)
