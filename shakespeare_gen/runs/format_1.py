"""Converts run folders of format 1 to the current format.

Format 1 stored options by group, a character vocabulary in `vocabulary.json`, and no path of the
corpus. Existing checkpoints are not rewritten when a run is resumed. Knows nothing about other
formats.
"""

import hashlib
import pathlib
from typing import Any

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.system import storage

_GROUPS = ("corpus", "vocabulary", "windows", "model", "engine", "optimizer", "training")


def upgraded_config(value: dict[str, Any], path: pathlib.Path) -> dict[str, Any]:
    """The current form of a `config.json`.

    Raises:
      UserError: a group is missing or unknown.
    """
    storage.check_keys(value, ("format_version", *_GROUPS, "data", "resumed"), path)
    options: dict[str, Any] = {}
    for name in _GROUPS:
        if not isinstance(value[name], dict):
            raise UserError(f"{path}: expected options by name, found {str(value[name])[:80]!r}")
        options |= value[name]
    corpus = value["data"]
    return {
        "format_version": 1,
        "options": options,
        "corpus": {**corpus, "path": ""} if isinstance(corpus, dict) else corpus,
        "resumed": value["resumed"],
    }


def upgraded_tokenizer(value: dict[str, Any]) -> dict[str, Any]:
    """The current form of a `vocabulary.json`."""
    return {**value, "tokens": "characters"}


def upgraded_state(state: dict[str, Any], tokenizer: Tokenizer, sha256: str) -> dict[str, Any]:
    """The current form of a checkpoint's `state.json`; unchanged unless it is of format 1.

    Args:
      sha256: the hash of `tokenizer` in the current format.
    """
    if "vocabulary_sha256" not in state:
        return state
    rest = {key: value for key, value in state.items() if key != "vocabulary_sha256"}
    hashed = hashlib.sha256(storage.to_json(tokenizer.to_json())).hexdigest()
    is_same = state["vocabulary_sha256"] == hashed
    return {**rest, "tokenizer_sha256": sha256 if is_same else state["vocabulary_sha256"]}
