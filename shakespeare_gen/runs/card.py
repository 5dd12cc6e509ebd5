"""The run card: `run.json` for programs and `README.md` for people.

Records the command, the machine, the corpus, the result, and how to use the model. Knows nothing
about training.

    with Card(run, model.facts(), model.num_parameters) as card:
        ...
        card.write(best_checkpoint="step-00000440-epoch-0022", losses={"validation": 1.42})
"""

import contextlib
import dataclasses
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from shakespeare_gen.errors import UserError
from shakespeare_gen.models import loss_units
from shakespeare_gen.options import spelling
from shakespeare_gen.options.groups import ComputeOptions
from shakespeare_gen.runs.run import Run
from shakespeare_gen.system import devices, storage

PACKAGES = ("shakespeare_gen", "tensorflow", "keras", "numpy", "tensorflow-datasets")
RESULTS = (  # left out while empty
    *("stopped_by", "best_checkpoint", "losses", "bytes_per_character", "speakers"),
)


@dataclasses.dataclass(frozen=True)
class Facts:
    """Facts on a card beyond the spec and the metrics of the run.

    Attributes:
      model: how this machine computes the model; see `LanguageModel.facts`.
      num_parameters: number of weights.
      losses: nats per character of the best checkpoint, by split.
      bytes_per_character: of the held-out texts in UTF-8, by split; makes losses of texts in
        different scripts comparable.
      speakers: the most frequent ones of the training text.
      stopped_by: what ended training before its last epoch, such as `pruning`; empty: nothing, or
        `patience`.
    """

    model: Mapping[str, str]
    num_parameters: int
    best_checkpoint: str | None = None
    losses: Mapping[str, float] = dataclasses.field(default_factory=dict)
    bytes_per_character: Mapping[str, float] = dataclasses.field(default_factory=dict)
    speakers: Sequence[str] = ()
    stopped_by: str = ""


class Card:
    """The card of a run in training; as a context manager, it records how training ended."""

    def __init__(self, run: Run, model_facts: Mapping[str, str], num_parameters: int) -> None:
        self.run, self.facts = run, Facts(model_facts, num_parameters)
        self.status = "running"
        self._made_with = {
            "versions": {"python": platform.python_version(), **_versions()},
            "hardware": devices.hardware(),
        }

    def __enter__(self) -> "Card":
        self.write()
        return self

    def __exit__(self, kind, error, _) -> None:
        if error is None:
            self.status = "finished"
            self.write()
            return
        self.status = f"stopped: {kind.__name__}"
        if isinstance(error, KeyboardInterrupt):
            self.status = "interrupted"
        with contextlib.suppress(UserError):  # the error that ended training is more important
            self.write()

    def write(self, **new_facts: Any) -> None:
        """Writes both files, with new facts where given; see `Facts`."""
        self.facts = dataclasses.replace(self.facts, **new_facts)
        card = self._json()
        storage.write(self.run.folder.card_path, storage.to_json(card))
        storage.write(self.run.folder.readme_path, _markdown(self.run, self.facts, card).encode())

    def _json(self) -> dict[str, Any]:
        spec = self.run.spec
        options = {**spec.options.non_defaults(), "run_dir": str(self.run.path)}
        results = {name: getattr(self.facts, name) for name in RESULTS}
        return {
            "status": self.status,
            "command": spelling.command_line("train", options),
            **self._made_with,
            "corpus": dataclasses.asdict(spec.corpus),
            "options": options,
            "resumed": [resumption.to_json() for resumption in spec.resumed],
            "num_parameters": self.facts.num_parameters,
            "precision": spec.options[ComputeOptions].precision,
            "model": dict(self.facts.model),
            **{name: value for name, value in results.items() if value},
            "epochs": self.run.metrics(),
        }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _markdown(run: Run, facts: Facts, card: Mapping[str, Any]) -> str:
    stopped_by = f", stopped by {facts.stopped_by}" if facts.stopped_by else ""
    lines = [f"# {run.path.name}", "", f"Status: {card['status']}{stopped_by}.", ""]
    lines += _fallback(run)
    lines += ["```", card["command"], "```", ""]
    lines += _what_was_run(run, facts, card)
    generate = spelling.command_line("generate", {"run_dir": str(run.path)})
    lines += ["", "Generate:", "", "```", generate, "```", ""]
    return "\n".join([*lines, *_metrics(card["epochs"])]) + "\n"


def _fallback(run: Run) -> list[str]:
    corpus = run.spec.corpus
    if corpus.name == corpus.requested:
        return []
    return [
        f"**Fallback corpus.** `{corpus.requested}` could not be downloaded; "
        f"this model was trained on `{corpus.name}`.",
        "",
    ]


def _what_was_run(run: Run, facts: Facts, card: Mapping[str, Any]) -> list[str]:
    corpus, hardware = run.spec.corpus, card["hardware"]
    return [
        f"- corpus: {corpus.name}, {corpus.train_chars:,} training characters, "
        f"SHA-256 `{corpus.sha256}`",
        f"- parameters: {card['num_parameters']:,}, computed in {card['precision']}"
        + "".join(f", {name} {value}" for name, value in facts.model.items()),
        f"- processor: {hardware['processor']}, {hardware['threads']} threads"
        + "".join(f", {gpu}" for gpu in hardware["gpus"]),
        "- versions: " + ", ".join(f"{k} {v}" for k, v in card["versions"].items()),
        *(
            f"- resumed from {resumption.from_checkpoint}"
            + "".join(f", {name} {old} → {new}" for name, (old, new) in resumption.changed.items())
            for resumption in run.spec.resumed
        ),
        *([f"- best checkpoint: {facts.best_checkpoint}"] if facts.best_checkpoint else []),
        *(f"- {split} loss: {loss_units.describe(loss)}" for split, loss in facts.losses.items()),
    ]


def _metrics(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    return [
        "| epoch | training | validation | characters/s |",
        "|---|---|---|---|",
        *(
            f"| {row['epoch']} | {row['loss']:.4f} | {_cell(row.get('validation_loss'))} "
            f"| {row['characters_per_second']:,} |"
            for row in rows
        ),
        "",
        "Losses are in nats per character; the losses by split are those of the best checkpoint.",
    ]


def _cell(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4f}"
