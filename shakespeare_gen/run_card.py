"""The run card: `run.json` for programs and `README.md` for people.

What was run, on what, on which text, with which result, and how to use it.
"""

import contextlib
import importlib.metadata
import platform
import shlex
from collections.abc import Iterator

from shakespeare_gen import devices, metrics, storage
from shakespeare_gen.errors import Interrupted, UserError

PACKAGES = ("shakespeare_gen", "tensorflow", "keras", "numpy", "tensorflow-datasets")


@contextlib.contextmanager
def kept(run, facts: dict) -> Iterator[None]:
    """Keeps the card while a run is trained: `running`, then how it ended.

    Args:
      facts: `corpus` (name, requested, sha256, lengths), `options` that differ
        from their defaults, `num_parameters`, `precision`, `resumed`, and once
        they are known `best_checkpoint` and `losses`.
    """
    status = "running"
    _write(run, status, facts)
    try:
        yield
        status = "finished"
    except Interrupted:
        status = "interrupted"
        raise
    except BaseException as error:
        status = f"stopped: {type(error).__name__}"
        raise
    finally:
        with contextlib.nullcontext() if status == "finished" else contextlib.suppress(UserError):
            _write(run, status, facts)


def _write(run, status: str, facts: dict) -> None:
    card = {
        "status": status,
        "command": " ".join(["python -m shakespeare_gen.train", *_flags(facts["options"])]),
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": devices.hardware(),
        **facts,
        "epochs": run.metrics(),
    }
    storage.write(run.card_path, storage.to_json(card))
    storage.write(run.readme_path, _markdown(run, card).encode())


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
        f"- parameters: {card['num_parameters']:,}, computed in {card['precision']}",
        f"- processor: {card['hardware']['processor']}, {card['hardware']['threads']} threads"
        + "".join(f", {gpu}" for gpu in card["hardware"]["gpus"]),
        "- versions: " + ", ".join(f"{k} {v}" for k, v in card["versions"].items()),
    ]
    lines += [
        f"- resumed from {resumed['from']}"
        + "".join(f", {k} {old} → {new}" for k, (old, new) in resumed["changed"].items())
        for resumed in card["resumed"]
    ]
    lines += [f"- best checkpoint: {card['best_checkpoint']}"] if losses else []
    lines += [f"- {split} loss: {metrics.describe(loss)}" for split, loss in losses.items()]
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
