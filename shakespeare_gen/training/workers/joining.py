"""The preparation of a run in all workers: the same versions, options and text.

The chief prepares the run as if it were alone. The others receive its spec and load the text
themselves, as for a run that is resumed; they need no run folder. Does not import TensorFlow.

    with meet(cluster, 30) as meeting, joining.prepared(meeting, options) as run_to_train: ...
"""

import contextlib
import importlib.metadata
import pathlib
import platform
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from shakespeare_gen import models, runs
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options import Options, help_pages
from shakespeare_gen.options.groups import ComputeOptions, WorkerOptions
from shakespeare_gen.runs import RunFolder, RunSpec
from shakespeare_gen.system import devices
from shakespeare_gen.system.signals import Interruption
from shakespeare_gen.training import preparation
from shakespeare_gen.training.preparation import Prepared
from shakespeare_gen.training.workers import meeting as meetings
from shakespeare_gen.training.workers.cluster import Cluster
from shakespeare_gen.training.workers.meeting import Meeting

if TYPE_CHECKING:  # importing TensorFlow takes seconds
    from shakespeare_gen.training.workers.team import Team

PACKAGES = ("shakespeare_gen", "tensorflow", "keras", "numpy")
# Options whose values may differ between workers; the text itself is compared.
OWN = frozenset({"run_dir", "corpus", "data_dir", "output_dir"}) | {
    *("resume", "overwrite"),  # about the run folder, which only the chief has
    *("worker_index", "worker_wait_seconds"),
}


def check_equal(meeting: Meeting, options: Options) -> None:
    """Compares the versions and the options of all workers.

    Raises:
      UserError: they differ.
    """
    everybody = meeting.exchange({"versions": _versions(), "options": _comparable(options)})
    for part, names in (("versions", "the version"), ("options", "the value")):
        for index, said in enumerate(everybody):
            for name, expected in everybody[0][part].items():
                if (received := said[part].get(name)) != expected:
                    raise UserError(
                        f"{name}: expected {names} of {meeting.cluster.name(0)}, "
                        f"{help_pages.shown(expected)}, received {help_pages.shown(received)} on "
                        f"{meeting.cluster.name(index)}"
                    )


@contextlib.contextmanager
def meet(cluster: Cluster, options: Options) -> Iterator[Meeting]:
    """A meeting of workers that were given the same options.

    Raises:
      UserError: one of them did not arrive, or was given others.
    """
    with meetings.meet(cluster, options[WorkerOptions].worker_wait_seconds) as meeting:
        check_equal(meeting, options)
        yield meeting


@contextlib.contextmanager
def prepared(meeting: Meeting, options: Options, text: str | None = None) -> Iterator[Prepared]:
    """A prepared run in each worker; see `preparation.prepared`.

    Raises:
      UserError: what one worker was given is invalid, or its text is not that of the chief.
    """
    with contextlib.ExitStack() as stack:

        def prepare() -> Prepared | None:
            if not meeting.cluster.is_chief:
                return None
            found = stack.enter_context(preparation.prepared(options, text))
            return _for_workers(found, meeting.cluster)

        found, everybody = meeting.attempt(prepare, _told)

        def load() -> Prepared:
            if found is not None:
                return found
            folder = RunFolder(stack.enter_context(tempfile.TemporaryDirectory()))
            return preparation.joined(_received(everybody[0], folder), folder, options, text)

        loaded, _ = meeting.attempt(load, lambda _: None)
        yield loaded


def start(meeting: Meeting, interruption: Interruption) -> "Team":
    """Starts TensorFlow and joins the processes in it."""

    def connect() -> Any:
        from shakespeare_gen.training.workers import team

        meeting.exchange({})  # TensorFlow waits silently, for minutes, for one that is not ready
        return team.connect(meeting.cluster)

    with interruption.deferred():
        strategy = devices.start(connect=connect)
        interruption.listen_again()
    from shakespeare_gen.training.workers.team import Team

    return Team(meeting.cluster, strategy)


def _for_workers(found: Prepared, cluster: Cluster) -> Prepared:
    """Checks that several workers can train a run, and fixes what each would choose itself."""
    if models.is_counted(found.options):
        raise UsageError(
            "model: expected a network for several workers, received "
            f"{found.options[models.ModelOptions].model}, which counts the text in one pass"
        )
    if found.data.plan.batch_size < cluster.size:
        raise UsageError(
            f"batch_size: expected at least {cluster.size}, one window for each worker, "
            f"received {found.data.plan.batch_size}"
        )
    precision = devices.choose_precision(found.options[ComputeOptions].precision)
    return found.replaced(precision=precision)


def _versions() -> dict[str, str]:
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a clone, not installed
            found[package] = importlib.metadata.version(package)
    return found


def _comparable(options: Options) -> dict[str, Any]:
    """The options that all workers must be given alike, as JSON values."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.by_name().items()
        if name not in OWN
    }


def _told(found: Prepared | None) -> dict[str, str]:
    """The files of the spec of a run, by name."""
    if found is None:
        return {}
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(path)
        runs.write_spec(folder, found.spec)
        files = (folder.config_path, folder.tokenizer_path)
        return {file.name: file.read_text("utf-8") for file in files}


def _received(files: dict[str, str], folder: RunFolder) -> RunSpec:
    for path in (folder.config_path, folder.tokenizer_path):
        pathlib.Path(path).write_text(files[path.name], "utf-8")
    return runs.read_spec(folder)
