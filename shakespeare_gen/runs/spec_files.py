"""The files of a run's spec. Knows nothing about checkpoints or training.

config.json      options by name, facts of the corpus, resumptions, format version, own hash
tokenizer.json   the result of `data.tokenizers.to_json`, own hash
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shakespeare_gen.data import tokenizers
from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UserError
from shakespeare_gen.models import ModelOptions
from shakespeare_gen.options import OptionGroup, Options
from shakespeare_gen.runs import finding, format_1
from shakespeare_gen.runs.folder import MAX_SPEC_BYTES, RunFolder
from shakespeare_gen.runs.spec import (
    CorpusFacts,
    Resumption,
    RunSpec,
    model_groups,
    saved_groups,
)
from shakespeare_gen.system import storage

FORMAT_VERSION = 2
MAX_CONFIG_BYTES = 1 << 18
MAX_RESUMPTIONS = 100
# Options that were added later, with the values that describe the runs before them.
VALUES_BEFORE = {"split_by": "corpus"}


def write_spec(folder: RunFolder, spec: RunSpec) -> None:
    """Stores `spec` in the current format.

    A run of format 1 remains readable at any moment: its vocabulary file is deleted last.
    """
    value = {
        "format_version": FORMAT_VERSION,
        "options": spec.options.by_name(),
        "corpus": dataclasses.asdict(spec.corpus),
        "resumed": [resumption.to_json() for resumption in spec.resumed[-MAX_RESUMPTIONS:]],
    }
    tokenizer = tokenizers.to_json(spec.tokenizer)
    storage.write(folder.tokenizer_path, storage.to_json(storage.sealed(tokenizer)))
    storage.write(folder.config_path, storage.to_json(storage.sealed(value)))
    with contextlib.suppress(OSError):
        folder.vocabulary_path.unlink()


def read_spec(folder: RunFolder) -> RunSpec:
    """Reads and verifies `config.json` and the tokenizer.

    Raises:
      UserError: a file is missing or damaged, does not belong to a run, or was written by a newer
        version.
    """
    path = folder.config_path
    _check_exists(folder)
    value = storage.read_sealed(path, MAX_CONFIG_BYTES, _version_check(path))
    if value["format_version"] == 1:
        value = format_1.upgraded_config(value, path)
        tokenizer = _read_tokenizer(folder.vocabulary_path, format_1.upgraded_tokenizer)
    else:
        tokenizer = _read_tokenizer(folder.tokenizer_path)
    storage.check_keys(value, ("format_version", "options", "corpus", "resumed"), path)
    resumed = value["resumed"] if isinstance(value["resumed"], list) else [None]
    spec = RunSpec(
        checked_options(value["options"], path),
        tokenizer,
        _corpus_facts(value["corpus"], path),
        tuple(_resumption(item, path) for item in resumed),
    )
    _check_together(spec, folder)
    return spec


def checked_options(values: Any, path: pathlib.Path) -> Options:
    """The saved options of a file; missing ones have their defaults, or `VALUES_BEFORE`.

    Raises:
      UserError: a name is unknown, or a value is invalid.
    """
    return _checked(values, path, saved_groups, VALUES_BEFORE)


def checked_model_options(values: Any, path: pathlib.Path) -> Options:
    """The same for `model_options`."""
    return _checked(values, path, model_groups, {})


def _checked(
    values: Any,
    path: pathlib.Path,
    groups_of: Callable[[Options], Sequence[type[OptionGroup]]],
    missing: Mapping[str, Any],
) -> Options:
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected options by name, found {str(values)[:80]!r}")
    values = {**missing, **values}
    # These two determine the other groups.
    kinds = {name: values[name] for name in ("tokens", "model") if name in values}
    try:
        chosen = Options.parse((tokenizers.TokenOptions, ModelOptions), kinds)
        return Options.parse(groups_of(chosen), values)
    except UserError as error:
        raise UserError(f"{path}: {str(error)[:400]}") from None


def _check_exists(folder: RunFolder) -> None:
    try:
        os.lstat(folder.config_path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"run_dir={folder.path}: expected a run folder, found no config.json"
            f"{finding.beside(folder.path)}"
        ) from None
    except OSError as error:
        raise UserError(f"{folder.config_path}: cannot be read: {storage.reason(error)}") from None


def _version_check(path: pathlib.Path) -> Callable[[dict[str, Any]], None]:
    def check(value: dict[str, Any]) -> None:
        version = value.get("format_version")
        if type(version) is int and version > FORMAT_VERSION:
            raise UserError(
                f"{path}: expected format_version {FORMAT_VERSION} at most, received {version}; "
                "it was written by a newer shakespeare_gen"
            )
        if type(version) is not int or version < 1:
            raise UserError(
                f"{path}: expected format_version {FORMAT_VERSION}, received {str(version)[:20]!r}"
            )

    return check


def _read_tokenizer(
    path: pathlib.Path, upgraded: Callable[[dict[str, Any]], dict[str, Any]] = dict
) -> Tokenizer:
    value = storage.read_sealed(path, MAX_SPEC_BYTES, lambda _: None)
    try:
        return tokenizers.from_json(upgraded(value))
    except UserError as error:
        raise UserError(f"{path}: {str(error)[:400]}") from None


def _corpus_facts(value: Any, path: pathlib.Path) -> CorpusFacts:
    types = {field.name: field.type for field in dataclasses.fields(CorpusFacts)}
    _check_types(value, types, path)
    return CorpusFacts(**value)


def _resumption(value: Any, path: pathlib.Path) -> Resumption:
    _check_types(value, {"from": str, "changed": dict}, path)
    for name, change in value["changed"].items():
        if not isinstance(change, list) or len(change) != 2:
            raise UserError(
                f"{path}: expected an old and a new value of {name[:80]!r}, "
                f"found {str(change)[:80]!r}"
            )
    changed = {name: tuple(change) for name, change in value["changed"].items()}
    return Resumption(value["from"], changed)


def _check_together(spec: RunSpec, folder: RunFolder) -> None:
    tokens = spec.options[tokenizers.TokenOptions].tokens
    if tokens != spec.tokenizer.NAME:
        raise UserError(
            f"{folder.tokenizer_path}: expected tokens={tokens}, as in config.json, "
            f"found {spec.tokenizer.NAME}"
        )
    try:
        _ = spec.model_spec
    except UserError as error:
        raise UserError(f"{folder.config_path}: {error}") from None


def _check_types(value: Any, types: Mapping[str, Any], path: pathlib.Path) -> None:
    storage.check_keys(value, types, path)
    for key, expected in types.items():
        if type(value[key]) is not expected:
            raise UserError(
                f"{path}: expected {key} of type {expected.__name__}, "
                f"found {str(value[key])[:80]!r}"
            )
