"""The models of a server: named at the start, loaded on first use.

A name stands for a run; several joined by + stand for the mean of their probabilities. Knows
nothing about requests.
"""

import asyncio
import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from shakespeare_gen.data.tokenizers import Tokenizer
from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation import Generator
from shakespeare_gen.generation.decoding import Decoder
from shakespeare_gen.generation.reading import Reader
from shakespeare_gen.models import LanguageModel
from shakespeare_gen.runs import Run, checkpoints, loading, open_run, store
from shakespeare_gen.serving.admission import Admission
from shakespeare_gen.serving.engine import MAX_ROWS, ROW_SIZES, Engine
from shakespeare_gen.serving.failures import RequestError, busy, invalid

MAX_WAITING = 8
FOLLOW_SECONDS = 2.0  # between looks for a newer checkpoint

_compiling = threading.Lock()  # one model at a time


@dataclasses.dataclass(eq=False)
class Served:
    """A loaded model.

    Attributes:
      name: its id in the API.
      newest: the newest checkpoint of each run when it was loaded.
      reader: replaced when the compiled model is ready.
    """

    name: str
    newest: list[str]
    tokenizer: Tokenizer
    reader: Reader
    engine: Engine
    admission: Admission

    @property
    def key(self) -> str:
        """What identifies its weights."""
        return " ".join([self.name, *self.newest])


class Catalog:
    """The models of a server; used by the thread of the event loop.

    Args:
      runs: by the ids of the API.
      load: a generator of several runs.
      precision: see `Decoder`.
      observe: see `Engine`.

    Attributes:
      loaded: the models in memory by their names, the one that was used last at the end.
    """

    def __init__(
        self,
        runs: Mapping[str, Run],
        load: Callable[[Sequence[Run]], Generator],
        max_models: int,
        precision: str,
        observe: Callable[[int, int], None],
    ) -> None:
        self.runs = runs
        self._load, self._max_models, self._observe = load, max_models, observe
        self._precision = precision
        self.loaded: OrderedDict[str, Served] = OrderedDict()
        self._lock = asyncio.Lock()

    @property
    def admissions(self) -> list[Admission]:
        """Of all loaded models."""
        return [served.admission for served in self.loaded.values()]

    async def get(self, name: str | None) -> Served:
        """A model, which is loaded if necessary; None: the first one.

        Raises:
          RequestError: there is no such model, or all models in memory are in use.
        """
        name = next(iter(self.runs)) if name is None else name
        runs = self.runs_of(name)
        if name not in self.loaded:
            async with self._lock:
                if name not in self.loaded:
                    self._make_room()
                    self.loaded[name] = await asyncio.to_thread(self._served, name, runs)
        self.loaded.move_to_end(name)
        return self.loaded[name]

    def runs_of(self, name: str) -> list[Run]:
        """The runs that a name stands for.

        Raises:
          RequestError: there are none, or their vocabularies differ.
        """
        names = [name] if name in self.runs else name.split("+")
        if any(part not in self.runs for part in names):
            known = ", ".join(self.runs)
            message = f"model: expected one of {known}, or several joined by +, received {name!a}"
            raise RequestError(404, message, "model", "model_not_found")
        if len(set(names)) < len(names):
            raise invalid(f"model: expected different models, received {name!a}", "model")
        found = [self.runs[part] for part in names]
        if any(run.spec.tokenizer != found[0].spec.tokenizer for run in found):
            raise invalid(
                f"model: expected models with the same vocabulary, received {name}", "model"
            )
        return found

    def _make_room(self) -> None:
        while len(self.loaded) >= self._max_models:
            idle = [n for n, served in self.loaded.items() if not served.admission.num_inside]
            if not idle:
                raise busy()
            self.loaded.pop(idle[0]).engine.close()

    def _served(self, name: str, runs: Sequence[Run]) -> Served:
        newest = [_newest(run) for run in runs]
        generator = self._load(runs)
        decoder = _decoder(generator.model, generator.tokenizer, self._precision)
        served = Served(
            name,
            newest,
            generator.tokenizer,
            Reader(generator.model, generator.tokenizer),
            Engine(decoder, self._observe),
            Admission(MAX_ROWS, MAX_WAITING),
        )
        if generator.make_compiled is not None:
            compiling = threading.Thread(
                target=_compile, args=(served, generator, self._precision), daemon=True
            )
            compiling.start()
        return served

    async def follow(self) -> None:
        """Replaces models by their newer checkpoints, for the requests that come later; endless."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            for name in list(self.loaded):
                try:
                    await self._refresh(name)
                except Exception as error:  # a checkpoint that is damaged, or deleted meanwhile
                    logging.warning("%s: expected a newer checkpoint, found: %s", name, error)

    async def _refresh(self, name: str) -> None:
        runs, before = self.runs_of(name), self.loaded.get(name)
        newest = await asyncio.to_thread(lambda: [*map(_newest, runs)])
        if before is None or before.newest == newest:
            return
        served = await asyncio.to_thread(self._served, name, runs)
        if self.loaded.get(name) is not before:  # it made room for another one
            served.engine.close()
            return
        self.loaded[name] = served
        while before.admission.num_inside:
            await asyncio.sleep(FOLLOW_SECONDS)
        before.engine.close()

    def close(self) -> None:
        """Ends all engines when their texts have ended."""
        for served in self.loaded.values():
            served.engine.close()


def _newest(run: Run) -> str:
    return "".join(store.names(run.folder.checkpoints)[-1:])


def _decoder(model: LanguageModel, tokenizer: Tokenizer, precision: str) -> Decoder:
    """A decoder whose programs, if it has any, are compiled."""
    decoder = Decoder(model, tokenizer.forbidden_ids, ROW_SIZES, precision)
    decoder.compile_ahead()
    return decoder


def _compile(served: Served, generator: Generator, precision: str) -> None:
    """Replaces the model in NumPy by its compiled form."""
    assert generator.make_compiled is not None
    try:
        with _compiling:
            model = generator.make_compiled()
            decoder = _decoder(model, generator.tokenizer, precision)
    except Exception as error:  # such as a lack of memory
        logging.warning("%s: not compiled, stays in NumPy: %s", served.name, error)
        return
    served.engine.replace(decoder)
    served.reader = Reader(model, generator.tokenizer)
    logging.info("%s is compiled", served.name)


def named(paths: Sequence[str]) -> dict[str, Run]:
    """Opens runs; by the names that the API gives them.

    A run is named after its folder, or by its path if several folders have the same name.

    Raises:
      UserError: a folder is not a run.
      UsageError: a run is given twice.
    """
    opened = [open_run(path) for path in paths]
    names = [run.name if run.folder.is_pretrained else run.path.name for run in opened]
    found: dict[str, Run] = {}
    for path, name, run in zip(paths, names, opened, strict=True):
        chosen = name if names.count(name) == 1 else path
        if chosen in found:
            raise UsageError(f"run_dir: expected different runs, received {path} twice")
        found[chosen] = run
    return found


def loader(checkpoint: str, engine: str) -> Callable[[Sequence[Run]], Generator]:
    """`Catalog`'s function that loads a generator; see `runs.loading.generator_of`."""

    def load(runs: Sequence[Run]) -> Generator:
        found: list[Any] = [(run, checkpoints.read(run, checkpoint)) for run in runs]
        return loading.generator_of(found, engine)

    return load
