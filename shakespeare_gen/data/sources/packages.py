"""Files of installed Python packages that contain text; the packages are never imported.

Knows nothing about the format of the files.
"""

import importlib.util
import pathlib
from collections.abc import Sequence

from shakespeare_gen.errors import CorpusUnavailableError
from shakespeare_gen.system import extras


def files(package: str, patterns: Sequence[str], extra: str, corpus: str) -> list[pathlib.Path]:
    """The files in the folder of a package that match any of `patterns`, sorted by path.

    Args:
      extra: the extra of `setup.py` that contains the package, for messages.
      corpus: the requested corpus, for messages.

    Raises:
      CorpusUnavailableError: the package is not installed, or it has no such files.
    """
    spec = importlib.util.find_spec(package)
    folders = (spec and spec.submodule_search_locations) or []
    found = {
        file for folder in folders for pattern in patterns for file in _matching(folder, pattern)
    }
    if not found:
        raise CorpusUnavailableError(
            f"corpus={corpus}: expected the package {package} with {' or '.join(patterns)}, found "
            f"none; install it with: {extras.installation(extra)}"
        )
    return sorted(found)


def _matching(folder: str, pattern: str) -> list[pathlib.Path]:
    return list(pathlib.Path(folder).glob(pattern))
