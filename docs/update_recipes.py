"""Writes what the recipes reach, from the run cards in `benchmarks/runs`; run by `make
recipes-table`.

    python -m docs.update_recipes runs/quick             # keeps the card of a finished run, too
    python -m docs.update_recipes --shared runs/quick    # other programs used the machine

A card is named like its recipe. From it come the row of `docs/recipes.md` and the paragraph of the
recipe's header that begins with "Measured". Trains nothing.
"""

import json
import pathlib
import re
import subprocess
import sys
import textwrap
from typing import Any

from shakespeare_gen.models import loss_units
from shakespeare_gen.options import spelling

REPOSITORY = pathlib.Path(__file__).parent.parent
CARDS = REPOSITORY / "benchmarks" / "runs"
FLAGS = REPOSITORY / "flags"
PAGE = REPOSITORY / "docs" / "recipes.md"
BEGIN, END = "<!-- recipes -->", "<!-- end -->"
LOSSES = ("validation", "test", "both")
COLUMNS = (
    *("recipe", "what it is", "corpus", "tokens", "parameters", "updates", "minutes"),
    *(f"{split}, bits/char" for split in LOSSES),
    "both, bits/byte",
)
_MEASURED = re.compile(r"^# Measured\b.*\n(?:# .*\n)*", re.MULTILINE)
_WIDTH = 100
NUM_RESULTS = len(COLUMNS) - 4


def public_card(run_dir: pathlib.Path) -> dict[str, Any]:
    """The card of a finished run, with the commit of the code and without local paths."""
    card = json.loads((run_dir / "run.json").read_text("utf-8"))
    if card["status"] != "finished":
        raise SystemExit(f"{run_dir}: expected a finished run, found {card['status']}")
    git = ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    options = {**card["options"], "run_dir": f"runs/{run_dir.name}"}
    options.pop("data_dir", None)
    changed = {
        "options": options,
        "command": spelling.command_line("train", options),
        "corpus": {**card["corpus"], "path": ""},
    }
    return {"commit": commit, **card, **changed}


def keep(run_dir: pathlib.Path, is_shared: bool) -> None:
    """Copies the card of a finished run to the repository."""
    kept = {"machine_was_shared": is_shared, **public_card(run_dir)}
    CARDS.mkdir(exist_ok=True)
    (CARDS / f"{run_dir.name}.json").write_text(f"{json.dumps(kept, indent=1)}\n", "utf-8")


def cards() -> dict[str, dict[str, Any]]:
    """The kept cards by recipe."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(CARDS.glob("*.json"))}


def minutes(card: dict[str, Any]) -> float:
    """The duration of training, with validation and samples."""
    return sum(epoch.get("seconds", 0) for epoch in card["epochs"]) / 60


def title(recipe: str) -> str:
    """The beginning of a recipe's header: its first clause."""
    comment = re.findall(r"^# ?(.*)$", recipe.split("\n#\n")[0], re.MULTILINE)
    return re.split(r"[.:;]\s| \(", " ".join(comment))[0]


def table() -> str:
    """One row for each recipe; without a card, the row has no results."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    known = cards()
    for path in sorted(FLAGS.glob("*.cfg")):
        recipe = path.read_text("utf-8")
        card = known.get(path.stem)
        results = _results(card) if card else [""] * NUM_RESULTS
        cells = [f"[`{path.stem}`](../flags/{path.name})", *_description(recipe, card), *results]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _description(recipe: str, card: dict[str, Any] | None) -> list[str]:
    """Title, corpus and tokens."""
    flags = dict(re.findall(r"^--(\w+)=(.*)$", recipe, re.MULTILINE))
    corpus = card["corpus"]["name"] if card else flags["corpus"]
    return [title(recipe), corpus, flags.get("tokens", "characters")]


def _results(card: dict[str, Any]) -> list[str]:
    losses = card["losses"]
    return [
        f"{card['num_parameters']:,}",
        f"{card['epochs'][-1]['step']:,}{_cut(card, ' ({})')}",
        f"{minutes(card):.1f}",
        *(f"{loss_units.bits_per_character(losses[s]):.3f}" if s in losses else "" for s in LOSSES),
        _bits_per_byte(card),
    ]


def _bits_per_byte(card: dict[str, Any]) -> str:
    if "both" not in card["losses"]:
        return ""
    bits = loss_units.bits_per_character(card["losses"]["both"])
    return f"{bits / card['bytes_per_character']['both']:.3f}"


def measured(card: dict[str, Any]) -> str:
    """The paragraph of a header that says what a recipe reached."""
    losses = card["losses"]
    nats = ", ".join(f"{split} {losses[split]:.3f}" for split in LOSSES if split in losses)
    last = [split for split in LOSSES if split in losses][-1]
    hardware = card["hardware"]
    where = ", ".join(hardware["gpus"]) or spelling.count(hardware["threads"], "core")
    shared = ", which other programs used too" if card["machine_was_shared"] else ""
    text = (
        f"Measured on {card['corpus']['name']}: {minutes(card):.1f} minutes on {where} "
        f"({hardware['processor']}, "
        f"{card['precision']}){shared}; {_cut(card, '{}; ')}seed {card['options'].get('seed', 0)}, "
        f"commit {card['commit']}; "
        f"{nats} nats per character; {last} is {loss_units.bits_per_character(losses[last]):.2f} "
        "bits per character."
    )
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, _WIDTH - 2))


def with_measured(recipe: str, paragraph: str) -> str:
    """A recipe whose header ends with the paragraph `measured`."""
    if _MEASURED.search(recipe):
        return _MEASURED.sub(lambda _: paragraph, recipe, count=1)
    header, first, flags = recipe.partition("\n--")
    return f"{header}\n{'' if header.endswith('#') else '#' + chr(10)}{paragraph}{first[1:]}{flags}"


def updated(page: str) -> str:
    """`page` with its table of recipes made again."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


def _cut(card: dict[str, Any], form: str) -> str:
    """How a run was smaller than its recipe, in `form`; "" if it was not."""
    found = []
    if _differs(card, "epochs"):
        found.append(spelling.count(len(card["epochs"]), "epoch"))
    if _differs(card, "batch_size"):
        found.append(f"`batch_size={card['options']['batch_size']}`")
    return form.format(f"cut to {' with '.join(found)}") if found else ""


def _differs(card: dict[str, Any], option: str) -> bool:
    """Whether a run had another number for `option` than its recipe gives."""
    recipe = (FLAGS / f"{pathlib.Path(card['options']['run_dir']).name}.cfg").read_text("utf-8")
    found = re.search(rf"^--{option}=(\d+)", recipe, re.MULTILINE)
    return bool(found) and card["options"].get(option, 0) not in (0, int(found[1]))


def main(arguments: list[str]) -> None:
    """Keeps the cards of finished runs, and updates all headers and the page."""
    is_shared = "--shared" in arguments
    for run_dir in arguments[is_shared:]:
        keep(pathlib.Path(run_dir), is_shared)
    for name, card in cards().items():
        path = FLAGS / f"{name}.cfg"
        path.write_text(with_measured(path.read_text("utf-8"), measured(card)), "utf-8")
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
