"""Where a study is kept: a journal file on one machine, or a database for several.

    with storage.opened(options) as place:
        study = place.study(sampler, pruner)
        place.retry_lost(study)         # trials of workers that were killed

A worker holds the lock of a file while it works with a journal, and gives signs of life in a
database, so that the others know when it was killed. Knows nothing about options of training.
"""

import contextlib
import datetime
import os
import pathlib
import time
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import filelock
import optuna
from optuna.storages import BaseStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from shakespeare_gen.errors import UserError
from shakespeare_gen.options.groups import TuneOptions
from shakespeare_gen.system import storage
from shakespeare_gen.tuning import attempts

JOURNAL = "study.journal"
GRACE = 3  # heartbeats that may be missing
_NAMELESS_SECONDS = 60  # a worker that was killed before it named itself
_WORKER = "worker"


class Place:
    """The open storage of a study.

    Args:
      workers: the folder of the workers' locks; None: workers give signs of life in the storage.
    """

    def __init__(self, name: str, opened: BaseStorage, workers: "_Workers | None") -> None:
        self.name, self._storage, self._workers = name, opened, workers

    def study(self, sampler: Any = None, pruner: Any = None) -> optuna.Study:
        """The study, which is created if there is none."""
        return optuna.create_study(
            storage=self._storage,
            study_name=self.name,
            sampler=sampler,
            pruner=pruner,
            load_if_exists=True,
        )

    def sign(self, trial: optuna.Trial) -> None:
        """Notes which worker has a trial."""
        if self._workers:
            trial.set_user_attr(_WORKER, self._workers.own)

    def retry_lost(self, study: optuna.Study) -> None:
        """Queues the running trials of workers that were killed."""
        if self._workers is None:
            optuna.storages.fail_stale_trials(study)
            return
        for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if self._workers.is_lost(trial):
                with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                    study.tell(trial.number, state=TrialState.FAIL)
                    attempts.retry(study, trial.number)


def is_new(options: TuneOptions) -> bool:
    """Whether there is no journal yet; what a database contains is known when it is open."""
    journal = pathlib.Path(options.study_dir).expanduser() / JOURNAL
    return not options.storage and not os.path.lexists(journal)


@contextlib.contextmanager
def opened(options: TuneOptions) -> Iterator[Place]:
    """A context with the storage of a study.

    Raises:
      UserError: a folder or the database cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    folder = pathlib.Path(options.study_dir).expanduser()
    name = folder.resolve().name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"study_dir={folder}: cannot be created: {storage.reason(error)}") from None
    if options.storage:
        with _database_errors(options.storage):
            yield Place(name, _database(options), None)
        return
    with _Workers(folder / ".workers") as workers:
        backend = JournalFileBackend(str(folder / JOURNAL))
        yield Place(name, optuna.storages.JournalStorage(backend), workers)


def shown(url: str) -> str:
    """The URL of a database without its password."""
    import sqlalchemy

    return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)


def _database(options: TuneOptions, tries: int = 5) -> BaseStorage:
    import sqlalchemy.exc

    try:
        return optuna.storages.RDBStorage(
            options.storage,
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=options.heartbeat_seconds,
            grace_period=GRACE * options.heartbeat_seconds,
            heartbeat_stale_trial_callback=attempts.AGAIN,
        )
    except (sqlalchemy.exc.ProgrammingError, sqlalchemy.exc.IntegrityError):
        if not tries:
            raise
    time.sleep(1)  # another worker is creating the tables
    return _database(options, tries - 1)


@contextlib.contextmanager
def _database_errors(url: str) -> Iterator[None]:
    """Turns the errors of the database into one line."""
    import sqlalchemy.exc

    try:
        yield
    except (sqlalchemy.exc.ArgumentError, ImportError):
        raise UserError(
            "storage: expected the URL of a database, such as postgresql+psycopg://user@host/name, "
            "whose driver is installed"
        ) from None
    except Exception as error:
        cause = _database_cause(error)
        if cause is None:
            raise
        raise UserError(f"storage={shown(url)}: cannot be used: {cause}") from None


def _database_cause(error: BaseException | None) -> str | None:
    """The message of the database behind an error; None: it has another cause.

    Optuna raises another error while it handles that of the database.
    """
    import sqlalchemy.exc

    while error is not None:
        if isinstance(error, sqlalchemy.exc.SQLAlchemyError):
            return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        error = error.__cause__ or error.__context__
    return None


class _Workers:
    """The locks of the workers of a journal, each a file that a worker holds until it ends."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.own, self._folder = f"{os.getpid()}-{uuid.uuid4().hex[:8]}", folder
        self._lock = filelock.FileLock(folder / self.own)

    def __enter__(self) -> "_Workers":
        self._folder.mkdir(exist_ok=True)
        self._lock.acquire(blocking=False)
        return self

    def __exit__(self, *_) -> None:
        self._lock.release()
        (self._folder / self.own).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are there
            self._folder.rmdir()

    def is_lost(self, trial: FrozenTrial) -> bool:
        """Whether the worker of a running trial was killed."""
        worker = trial.user_attrs.get(_WORKER)
        if worker is None:
            started = trial.datetime_start or datetime.datetime.now()
            age = datetime.datetime.now() - started
            return age.total_seconds() > _NAMELESS_SECONDS
        if worker == self.own:
            return False
        path = self._folder / str(worker)
        if not path.exists():
            return True
        try:
            with filelock.FileLock(path, blocking=False):
                path.unlink(missing_ok=True)
            return True
        except filelock.Timeout:
            return False
