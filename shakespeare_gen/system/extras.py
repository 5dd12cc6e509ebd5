"""Packages that not every user needs: the extras of `setup.py`, and what to do without them."""

import importlib.util

from shakespeare_gen.errors import UsageError

PACKAGES = {
    "evaluate": ("jinja2", "pydivsufsort", "pyppmd", "rich"),
    "tensorboard": ("tensorboard",),
}


def require(extra: str, what: str) -> None:
    """Refuses `what` where a package of `extra` is missing.

    Raises:
      UsageError: names the packages, and the command that installs them.
    """
    missing = [name for name in PACKAGES[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{what}: expected the packages of the extra {extra}, found no {', '.join(missing)}; "
            f"install it with: pip install 'shakespeare_gen[{extra}]'"
        )
