"""Optional packages: the extras of `setup.py`, and the error for a missing one."""

import importlib.util

from shakespeare_gen.errors import UsageError

PACKAGES = {
    "evaluate": ("jinja2", "pydivsufsort", "pyppmd", "rich"),
    "litert": ("ai_edge_litert",),
    "onnx": ("onnx", "onnxruntime"),
    "serve": ("prometheus_client", "starlette", "uvicorn"),
    "tensorboard": ("tensorboard",),
    "tune": ("jinja2", "optuna", "psycopg", "rich"),
    "zst": ("zstandard",),
}


def require(extra: str, feature: str) -> None:
    """Checks that the packages that `feature` needs are installed.

    Raises:
      UsageError: packages are missing; names them and the command that installs them.
    """
    missing = [name for name in PACKAGES[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{feature}: expected the packages of the extra {extra}, found no "
            f"{', '.join(missing)}; install them with: {installation(extra)}"
        )


def installation(extra: str) -> str:
    """The command that installs the packages of an extra."""
    return f"pip install 'shakespeare_gen[{extra}]'"
