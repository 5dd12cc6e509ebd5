"""Text from TensorFlow Datasets (TFDS), prepared once and then read offline.

Without a network, TFDS takes minutes to fail, so a probe checks the connection first. Processes
that prepare the same dataset would interfere with each other, so a lock admits one at a time.
Knows nothing about files outside the data folder of TFDS.
"""

import contextlib
import io
import pathlib
import queue
import threading
from collections.abc import Container, Iterator

from absl import logging

from shakespeare_gen.data import documents
from shakespeare_gen.data.splits import Splits, cut
from shakespeare_gen.errors import CorpusUnavailableError, UserError
from shakespeare_gen.options.groups import CorpusOptions
from shakespeare_gen.system import devices, storage

PROBE_SECONDS = 8.0


def load(name: str, options: CorpusOptions, requested: str = "") -> Splits:
    """Loads the splits of a dataset; missing ones are cut from the end of train.

    Args:
      name: NAME, NAME/CONFIG or NAME:VERSION, in the notation of TFDS.
      requested: the corpus as the user wrote it, for messages; empty: `tfds:` and the name.

    Raises:
      CorpusUnavailableError: the dataset is not on this machine and cannot be downloaded.
      UserError: there is no such dataset or text feature, or a downloaded file is damaged.
    """
    texts = {split: "".join(pieces) for split, pieces in stream(name, options, requested).items()}
    rest = cut(texts["train"], *fractions_left(texts, options))
    return Splits(
        rest.train, texts.get("validation", rest.validation), texts.get("test", rest.test)
    )


def stream(name: str, options: CorpusOptions, requested: str = "") -> dict[str, Iterator[str]]:
    """The splits that a dataset has, in pieces: its documents, joined as by `documents.join`; a
    single document as it is. See `load` for arguments and errors."""
    requested = requested or f"tfds:{name}"
    builder = _builder(name, options.data_dir, requested)
    _check_feature(builder, options.text_feature)
    if not builder.info.splits:
        _prepare(builder, requested)
        # A builder reads its splits on construction, and another process may have prepared them.
        builder = _builder(name, options.data_dir, requested)
    if "train" not in builder.info.splits:
        raise UserError(
            f"{requested}: expected a split named train, found {', '.join(builder.info.splits)}"
        )
    return {
        split: _read(builder, split, options.text_feature, options.document_separator)
        for split in ("train", "validation", "test")
        if split in builder.info.splits
    }


def fractions_left(splits: Container[str], options: CorpusOptions) -> tuple[float, float]:
    """The fractions of train that are cut from its end, for the splits that a dataset lacks."""
    return (
        0.0 if "validation" in splits else options.validation_fraction,
        0.0 if "test" in splits else options.test_fraction,
    )


def network_error(url: str, timeout_seconds: float = PROBE_SECONDS) -> str | None:
    """The reason why `url` cannot be reached, within the timeout; None if it can be reached."""
    import requests

    def probe() -> str | None:
        try:
            requests.head(url, timeout=timeout_seconds / 2, allow_redirects=True)
        except requests.RequestException as error:
            return type(error).__name__
        return None

    # Name resolution has no timeout, so the probe runs in a thread that does not delay the exit.
    answer: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=lambda: answer.put(probe()), daemon=True).start()
    try:
        return answer.get(timeout=timeout_seconds)
    except queue.Empty:
        return f"no answer in {timeout_seconds:g} s"


def _builder(name: str, data_dir: str, requested: str):
    devices.start()  # TFDS imports TensorFlow, which writes to standard error
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        with _errors_only():
            return tfds.builder(name, data_dir=data_dir or None)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError):
        # TFDS raises the last two for an invalid name, config or version.
        raise UserError(
            f"{requested}: expected a dataset of TFDS (NAME, NAME/CONFIG or NAME:VERSION), "
            "found none with this name"
        ) from None


@contextlib.contextmanager
def _errors_only():
    """Silences TFDS's log messages about its folders."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _is_prepared(builder) -> bool:
    with _errors_only():
        return builder.is_prepared()


def _check_feature(builder, text_feature: str) -> None:
    import tensorflow_datasets as tfds

    features = builder.info.features or {}
    texts = [key for key, value in features.items() if isinstance(value, tfds.features.Text)]
    if text_feature not in texts:
        raise UserError(
            f"text_feature: expected one of {', '.join(texts) or '(none)'} "
            f"in {builder.name}, received {text_feature!r}"
        )


def _prepare(builder, requested: str) -> None:
    import filelock

    root = pathlib.Path(builder.data_dir_root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(root / f"{builder.name}.lock"):
            if not _is_prepared(builder):
                _download_and_prepare(builder, root / "downloads" / "manual", requested)
    except OSError as error:
        reason = storage.reason(error)
        raise UserError(f"data_dir={root}: cannot be written: {reason}") from None


def _download_and_prepare(builder, manual_dir: pathlib.Path, requested: str) -> None:
    import requests
    import tensorflow as tf
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    files = {url: manual_dir / info.filename for url, info in (builder.url_infos or {}).items()}
    missing = {url: file for url, file in files.items() if not file.exists()}
    if (url := _first_url(builder, files, missing)) and (reason := network_error(url)):
        raise _unavailable(builder.name, reason, missing)
    logging.info("Preparing the TFDS dataset %s in %s", builder.name, builder.data_dir)
    try:
        # TFDS prints sizes that it does not know.
        with _errors_only(), contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except NonMatchingChecksumError as error:
        where = f"{manual_dir} or from its host" if not missing else "its host"
        raise UserError(
            f"{requested}: expected the published checksum of the file from {where}, "
            f"received another: {_one_line(error)}"
        ) from None
    except (requests.RequestException, tfds.download.DownloadError, tf.errors.OpError) as error:
        raise _unavailable(builder.name, type(error).__name__, missing) from None
    except OSError:
        raise
    except Exception as error:  # third-party code, which may ask for a manual download
        raise UserError(f"{requested}: cannot be prepared: {_one_line(error)}") from None


def _first_url(builder, files: dict, missing: dict) -> str | None:
    """The URL needed to prepare a dataset; None if all files are on this machine."""
    if missing:
        return next(iter(missing))
    # TFDS datasets without download URLs and manual files are read from the TFDS bucket.
    of_tfds = type(builder).__module__.startswith("tensorflow_datasets.")
    from_bucket = of_tfds and not files and not builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    return "https://storage.googleapis.com/tfds-data" if from_bucket else None


def _unavailable(
    name: str, reason: str, missing: dict[str, pathlib.Path]
) -> CorpusUnavailableError:
    fetch = "".join(
        f"  2. download {url}\n     on another machine and copy it, unmodified, to {file}"
        + (f"; do the same for {len(missing) - 1} other files" if len(missing) > 1 else "")
        + ";\n"
        for url, file in list(missing.items())[:1]
    )
    return CorpusUnavailableError(
        f"The dataset {name} is not on this machine and cannot be downloaded ({reason}).\n"
        f"{'Three' if fetch else 'Two'} options:\n"
        f"  1. connect this machine to the network and run the command again;\n{fetch}"
        f"  {3 if fetch else 2}. train on another text: `corpus=plays`, `corpus=PATH` with your "
        "own text, or `fallback_corpus=plays`."
    )


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"


def _read(builder, split: str, text_feature: str, document_separator: str) -> Iterator[str]:
    with _errors_only():
        examples = builder.as_dataset(split=split, shuffle_files=False).as_numpy_iterator()
    texts = (example[text_feature].decode("utf-8") for example in examples)
    last = ""
    for piece in documents.separated(texts, document_separator):
        yield piece
        last = piece
    if builder.info.splits[split].num_examples != 1:
        yield documents.ending(last, document_separator)
