"""The run card: `run.json` for programs and `README.md` for people.

What was run, on what, on which text, with which result, and how to use it.
"""

import contextlib
import importlib.metadata
import platform
import shlex

from shakespeare_gen.system import devices
from shakespeare_gen.models import loss_units
from shakespeare_gen.system import storage
from shakespeare_gen.errors import UserError

PACKAGES = ("shakespeare_gen", "tensorflow", "keras", "numpy", "tensorflow-datasets")


class Card:
    """The card of a run while it is trained; as a context manager it tells how that ended.

    `facts`: `corpus` (name, requested, sha256, lengths), `options` that differ
    from their defaults, `num_parameters`, `precision`, `kernel`, `resumed`, and once they
    are known `best_checkpoint` and `losses`.
    """

    def __init__(self, run, facts: dict) -> None:
        self.run, self.facts = run, facts
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
        with contextlib.suppress(UserError):  # the error that is on its way says more
            self.write()

    def write(self, **facts) -> None:
        """Writes both forms, with `facts` that are new."""
        self.facts |= facts
        options = self.facts["options"]
        card = {
            "status": self.status,
            "command": " ".join(["python -m shakespeare_gen.train", *_flags(options)]),
            **self._made_with,
            **self.facts,
            "epochs": self.run.metrics(),
        }
        storage.write(self.run.card_path, storage.to_json(card))
        storage.write(self.run.readme_path, _markdown(self.run, card).encode())


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _flags(options: dict) -> list[str]:
    def flag(name, value):
        if isinstance(value, bool):
            return f"--{name}" if value else f"--no{name}"
        return shlex.quote(f"--{name}={value}")

    return [flag(name, value) for name, value in options.items()]


def _markdown(run, card: dict) -> str:
    corpus, losses = card["corpus"], card.get("losses", {})
    lines = [f"# {run.path.name}", "", f"Status: {card['status']}.", ""]
    if corpus["name"] != corpus["requested"]:
        lines += [
            f"**Fallback corpus.** `{corpus['requested']}` could not be fetched; "
            f"this model was trained on `{corpus['name']}`.",
            "",
        ]
    lines += [
        "```",
        card["command"],
        "```",
        "",
        f"- corpus: {corpus['name']}, {corpus['train_chars']:,} training characters, "
        f"SHA-256 `{corpus['sha256']}`",
        f"- parameters: {card['num_parameters']:,}, computed in {card['precision']} by the "
        f"{card['kernel']} kernel",
        f"- processor: {card['hardware']['processor']}, {card['hardware']['threads']} threads"
        + "".join(f", {gpu}" for gpu in card["hardware"]["gpus"]),
        "- versions: " + ", ".join(f"{k} {v}" for k, v in card["versions"].items()),
    ]
    lines += [
        f"- resumed from {resumed['from']}"
        + "".join(f", {k} {old} → {new}" for k, (old, new) in resumed["changed"].items())
        for resumed in card["resumed"]
    ]
    lines += [f"- best checkpoint: {card['best_checkpoint']}"] if "best_checkpoint" in card else []
    lines += [f"- {split} loss: {loss_units.describe(loss)}" for split, loss in losses.items()]
    lines += [
        "",
        "Generate:",
        "",
        "```",
        f"python -m shakespeare_gen.generate {shlex.quote(f'--run_dir={run.path}')}",
        "```",
        "",
    ]
    if card["epochs"]:
        lines += ["| epoch | training | validation | characters/s |", "|---|---|---|---|"]
        lines += [
            f"| {row['epoch']} | {row['loss']:.4f} | {_cell(row.get('validation_loss'))} "
            f"| {row['characters_per_second']:,} |"
            for row in card["epochs"]
        ]
        lines += ["", "Losses in nats per character, of the best checkpoint where one is named."]
    return "\n".join(lines) + "\n"


def _cell(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4f}"
