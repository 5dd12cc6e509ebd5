"""The verdict on a model, in two sentences: its loss against the baselines; copying and loops.

Knows the figures of an evaluation. Every statement follows from a figure and a threshold below;
what was not measured is said to be unknown.
"""

from typing import Any

from shakespeare_gen.evaluation.leaderboard import ADAPTING, FROZEN, THIS_MODEL, UNIFORM, UNIGRAM
from shakespeare_gen.report import formatting

ABOUT_EQUAL = 0.01  # relative difference of two losses
MIN_CHARS = 500  # of generated text
# How far a share of generated text must exceed that of human text to be called a fault.
COPIED_MARGIN, LOOPED_MARGIN = 0.05, 0.02

TEXTS = {
    "both": "the validation and test text",
    "validation": "the validation text",
    "test": "the test text",
    "text": "the given text",
}


def sentences(figures: dict[str, Any]) -> list[str]:
    """The verdict: one sentence on the loss, and one on the generated text, unless it is too
    short and was measured as whole documents."""
    found = [_on_loss(figures["scores"]), _on_generated_text(figures)]
    return [sentence for sentence in found if sentence]


def name_of(text: str) -> str:
    """The name of a text within a sentence."""
    return TEXTS.get(text, text)


def is_this_model(row: dict[str, Any]) -> bool:
    """Whether a row of scores belongs to the evaluated model, alone or mixed with n-grams."""
    return row["model"].startswith(THIS_MODEL)


def _on_loss(scores: list[dict[str, Any]]) -> str:
    split = list(scores[0]["splits"])[-1]
    own, baselines = _losses(scores, split, FROZEN)
    [[_, loss], *_] = own.items()
    needs = f"The model needs {_bits(loss)} bits per character on {name_of(split)}"
    if not baselines:
        return f"{needs}; no baseline was scored, so it is unknown whether that is good."
    if loss >= baselines[UNIFORM] * (1 - ABOUT_EQUAL):
        return (
            f"{needs}, no better than guessing every token with the same probability "
            f"({_bits(baselines[UNIFORM])}): nothing that it has learned helps here."
        )
    if loss >= baselines[UNIGRAM] * (1 - ABOUT_EQUAL):
        return (
            f"{needs}, no better than the frequencies of single tokens "
            f"({_bits(baselines[UNIGRAM])}): it makes no use of context."
        )
    compared = _compared(loss, baselines, "the best baseline")
    return f"{needs}, {compared}{_on_adapting(scores, split)}."


def _on_adapting(scores: list[dict[str, Any]], split: str) -> str:
    """The second half of a sentence, if the model was also scored while it adapts."""
    own, baselines = _losses(scores, split, ADAPTING)
    if not own or not baselines:
        return ""
    name = min(own, key=own.__getitem__)
    mixed = " and is mixed with n-grams" if name.endswith("n-grams") else ""
    compared = _compared(own[name], baselines, "the best baseline that learns too")
    return f"; when it learns as it reads{mixed}, it needs {_bits(own[name])}, {compared}"


def _losses(scores: list[dict], split: str, protocol: str) -> tuple[dict, dict]:
    """Bits per character by name, of this model and of the baselines."""
    own: dict[str, float] = {}
    baselines: dict[str, float] = {}
    for row in scores:
        if row["protocol"] == protocol:
            found = own if is_this_model(row) else baselines
            found[row["model"]] = row["splits"][split]["bits_per_character"]
    return own, baselines


def _compared(loss: float, baselines: dict[str, float], what: str) -> str:
    name = min(baselines, key=baselines.__getitem__)
    best = f"{what}, {name} ({_bits(baselines[name])})"
    ratio = loss / max(baselines[name], 1e-9)
    if abs(ratio - 1) < ABOUT_EQUAL:
        return f"about as many as {best}"
    if ratio > 2:
        return f"{ratio:.1f} times as many as {best}"
    return f"{abs(ratio - 1):.0%} {'fewer' if ratio < 1 else 'more'} than {best}".replace("%", " %")


def _on_generated_text(figures: dict[str, Any]) -> str:
    loops = figures["loops"]
    if not loops:
        return "No text was generated, so it is unknown whether the model copies or loops."
    num_chars = loops["generated"]["characters"]
    if num_chars < MIN_CHARS and figures.get("documents"):
        return ""
    if num_chars < MIN_CHARS:
        return (
            f"It wrote {num_chars:,} characters, too few to tell whether it copies its training "
            "text or loops."
        )
    copies, repeats = _on_copying(figures["copying"]), _on_loops(loops)
    return f"In {num_chars:,} characters of its own, it {copies}, and it {repeats}."


def _on_copying(copying: dict[str, Any] | None) -> str:
    if copying is None:
        return "may or may not copy, because its training text was not available"
    generated, human = copying["generated"], copying["human"]
    own, usual = generated["share_in_spans_of_50"], human["share_in_spans_of_50"]
    shares = f"{formatting.percent(own)} in spans of 50 characters or more"
    compared = f"{shares}; human text: {formatting.percent(usual)}"
    if own > usual + COPIED_MARGIN:
        return f"copies its training text ({compared})"
    if own > usual:
        return f"copies its training text now and then ({compared})"
    if own:
        return f"copies no more than human text does ({compared})"
    return (
        "copies no long passage (its longest span shared with the training text has "
        f"{generated['longest_span_chars']:,} characters, that of human text "
        f"{human['longest_span_chars']:,})"
    )


def _on_loops(loops: dict[str, Any]) -> str:
    own, usual = (loops[kind]["share_in_loops"] for kind in ("generated", "human"))
    compared = f"{formatting.percent(own)} repeats a phrase over and over; human text: "
    compared += formatting.percent(usual)
    if own > usual + LOOPED_MARGIN:
        return f"loops ({compared})"
    if own > usual:
        return f"loops rarely ({compared})"
    return f"loops no more than human text does ({compared})" if own else "never loops"


def _bits(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
